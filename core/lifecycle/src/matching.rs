//! A pilot's slot gets jobs.

use crate::{Lifecycle, LifecycleError, index::Slot, lock};
use spinor_identity::{secret, subject::PilotIdentity};
use spinor_model::{
    fit::fit,
    id::{AttemptNumber, GroupName, JobId, Stamp, UserName, VoName},
    offer::Offer,
    policy::{MatchingRule, PolicyError, RequirementClass, Verdict},
    requirement::Requirement,
};
use spinor_store::{ClaimRequest, Claimed};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Jobs that one question brings at most.
const MAX_JOBS: u32 = 64;

/// Whose jobs a slot may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// Anybody's: payloads are kept apart there.
    Any,
    /// One's, whoever it is.
    One,
    /// This one's.
    Only(UserName),
}

impl Owners {
    fn only(&self) -> Option<&UserName> {
        match self {
            Self::Any | Self::One => None,
            Self::Only(owner) => Some(owner),
        }
    }

    /// When it has got jobs of an owner.
    fn after(self, owner: UserName) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::One | Self::Only(_) => Self::Only(owner),
        }
    }
}

impl Lifecycle {
    /// Fills a slot: claims jobs for what it has free, until it is full or nothing suits; of one
    /// owner, if `owners` says so. `holds` is what the pilot runs already: what it should hold and does
    /// not is given again.
    pub async fn match_slot(
        &self,
        pilot: &PilotIdentity,
        mut slot: Offer,
        mut owners: Owners,
        holds: &[(JobId, AttemptNumber)],
    ) -> Result<Vec<Claimed>, LifecycleError> {
        let lost = self.store.unheard_of(&pilot.stamp, holds).await?;
        if !lost.is_empty() {
            return Ok(lost);
        }
        let document = self.document(&pilot.vo)?;
        let banned = document.sites.get(&pilot.site).is_none_or(|site| site.banned);
        if banned || self.on_banned_node(&pilot.stamp) {
            return Ok(Vec::new());
        }
        if let Some(ahead) = self.downtime(&document, &pilot.ce) {
            if ahead.closes() {
                return Ok(Vec::new());
            }
            ahead.bounds(&mut slot);
        }
        let offer = slot.class();
        let rule = self.judged(&pilot.vo, &offer, Some(&pilot.stamp)).await?;
        let decider = rule.decider();
        let mut free = slot;
        let mut claimed: Vec<Claimed> = Vec::new();
        let mut skip = HashSet::new();
        while free.cores > 0 && (claimed.len() as u32) < MAX_JOBS {
            let shares = |group: &GroupName| document.groups.get(group).map_or(1, |g| g.share);
            let room = free.class();
            let chosen = lock(&self.index).choose(
                Slot { vo: &pilot.vo, offer: &offer, decider, free: &room },
                owners.only(),
                &shares,
                &skip,
            );
            let Some((candidate, queue, cores)) = chosen else { break };
            let asked = &candidate.class.requirement;
            let many = how_many(&room, asked, cores);
            let now = self.now();
            let request = ClaimRequest {
                queue: queue.clone(),
                limit: many.min(MAX_JOBS - claimed.len() as u32),
                stamp: pilot.stamp.clone(),
                site: pilot.site.clone(),
                ce: pilot.ce.clone(),
                cores,
                decider: decider.clone(),
                score: candidate.score,
                nonces: (0..many).map(|_| secret::fresh()).collect(),
                holds: claimed.iter().map(|c| (c.id, c.attempt)).chain(holds.to_vec()).collect(),
                vo: pilot.vo.clone(),
                max_running: document.limits.max_running,
                lease_until: now.plus(Duration::from_secs(document.limits.lease_seconds)),
                now,
            };
            let got = self.store.claim(request).await?;
            if got.is_empty() {
                skip.insert(queue);
                continue;
            }
            let delta = -i64::try_from(got.len()).unwrap_or(i64::MAX);
            lock(&self.index).change(&queue, delta);
            owners = owners.after(queue.owner);
            for job in &got {
                debug_assert!(fit(&job.requirement, &free).is_ok());
                free.cores = free.cores.saturating_sub(job.cores);
                let Requirement { cpu, io, .. } = &job.requirement;
                free.memory_mb = free.memory_mb.saturating_sub(cpu.ram_mb.request);
                free.gpus = free.gpus.saturating_sub(job.requirement.gpus());
                free.scratch_mb = free.scratch_mb.saturating_sub(io.scratch_mb);
            }
            claimed.extend(got);
        }
        Ok(claimed)
    }

    /// The rule for a pilot, or for nobody in particular, which has judged all there is for an offer.
    /// If it breaks, and another stands in for it by now, that one is asked.
    pub(crate) async fn judged(
        &self,
        vo: &VoName,
        offer: &Offer,
        pilot: Option<&Stamp>,
    ) -> Result<Arc<dyn MatchingRule>, LifecycleError> {
        let rule = self.rule(vo, pilot)?;
        match self.judge(vo, offer, &rule).await {
            Err(LifecycleError::Policy(PolicyError::Fault { plugin, fault })) => {
                let next = self.rule(vo, pilot)?;
                if next.decider() == rule.decider() {
                    return Err(PolicyError::Fault { plugin, fault }.into());
                }
                self.judge(vo, offer, &next).await?;
                Ok(next)
            }
            other => other.map(|()| rule),
        }
    }

    fn rule(
        &self,
        vo: &VoName,
        pilot: Option<&Stamp>,
    ) -> Result<Arc<dyn MatchingRule>, LifecycleError> {
        self.policies.rule(vo, pilot).map_err(|none| {
            self.set_problem(vo, Some(none.to_string()));
            none.into()
        })
    }

    /// Has a rule judge what it has not judged for this offer. Steady state: nothing.
    async fn judge(
        &self,
        vo: &VoName,
        offer: &Offer,
        rule: &Arc<dyn MatchingRule>,
    ) -> Result<(), LifecycleError> {
        let Some(unjudged) = lock(&self.index).unjudged(vo, offer, rule.decider()) else {
            return Ok(());
        };
        let (asked, classes, the_rule) = (offer.clone(), unjudged.fitting.clone(), rule.clone());
        let verdicts =
            tokio::task::spawn_blocking(move || the_rule.evaluate(&asked, &classes)).await?;
        match verdicts {
            Ok(verdicts) => {
                self.show_held(&unjudged.fitting, &verdicts).await?;
                lock(&self.index).judge(vo, offer, rule.decider(), unjudged, verdicts);
                self.set_problem(vo, None);
                Ok(())
            }
            Err(error) => {
                self.set_problem(vo, Some(error.to_string()));
                Err(error.into())
            }
        }
    }

    /// Shows the owners of jobs that a rule breaks on that these are held, and why.
    async fn show_held(
        &self,
        classes: &[Arc<RequirementClass>],
        verdicts: &[Verdict],
    ) -> Result<(), LifecycleError> {
        for (class, verdict) in classes.iter().zip(verdicts) {
            match verdict {
                Verdict::Held(reason) => {
                    lock(&self.held).insert(class.id);
                    self.store.hold_class(class.id, Some(reason)).await?;
                }
                _ => {
                    let was_held = lock(&self.held).remove(&class.id);
                    if was_held {
                        self.store.hold_class(class.id, None).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many jobs of one class go into what is free.
fn how_many(free: &Offer, asked: &Requirement, cores: u32) -> u32 {
    let by = |free: u64, asked: u64| free.checked_div(asked).unwrap_or(u64::MAX);
    let shares = [
        by(free.cores.into(), cores.into()),
        by(free.memory_mb, asked.cpu.ram_mb.request),
        by(free.gpus.into(), asked.gpus().into()),
        by(free.scratch_mb, asked.io.scratch_mb),
    ];
    let least = shares.into_iter().min().unwrap_or(1);
    u32::try_from(least).unwrap_or(u32::MAX).max(1)
}
