//! Why a job waits: which condition, or which rule, keeps it from which site.

use crate::{Lifecycle, LifecycleError};
use serde::{Deserialize, Serialize};
use spinor_model::{
    fit::fit,
    id::{CeName, QueueName, SiteName},
    policy::{RequirementClass, Verdict},
    registry::{Banned, VoDocument},
    state::JobState,
};
use spinor_store::JobRecord;
use std::sync::Arc;

/// Why a job is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// In one sentence.
    pub summary: String,
    /// Jobs of the same class that wait, this one among them.
    pub class_waiting: u64,
    /// Each queue that the VO has, and what it says to the job.
    pub places: Vec<PlaceVerdict>,
}

/// What one queue says to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaceVerdict {
    /// The site.
    pub site: SiteName,
    /// The computing element.
    pub ce: CeName,
    /// The queue.
    pub queue: QueueName,
    /// What keeps the job from it; nothing if it could run there.
    pub kept_by: Option<Obstacle>,
    /// How the rule scores it there.
    pub score: Option<i64>,
    /// Pilots that are there or on their way.
    pub pilots: u32,
}

/// What keeps a job from a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// `site`, `downtime`, `condition`, `rule` or `backend`.
    pub kind: String,
    /// Which: a requirement's field, or plugin and version.
    pub name: String,
    /// Why.
    pub reason: String,
}

fn obstacle(kind: &str, name: impl ToString, reason: impl ToString) -> Option<Obstacle> {
    let (name, reason) = (name.to_string(), reason.to_string());
    Some(Obstacle { kind: kind.to_owned(), name, reason })
}

impl Lifecycle {
    /// Explains a job.
    pub async fn explain(&self, job: &JobRecord) -> Result<Explanation, LifecycleError> {
        let document = self.document(&job.vo)?;
        let class = self.store.class_of(job.id).await?;
        let Some(class) = class else {
            return Ok(simple("the job has no requirement class".to_owned()));
        };
        let waiting = self.waiting(&job.vo).get(&class.id).copied().unwrap_or(0);
        let places = self.verdicts(&document, &class).await?;
        let summary = self.summarise(job, &places);
        Ok(Explanation { summary, class_waiting: waiting, places })
    }

    async fn verdicts(
        &self,
        document: &VoDocument,
        class: &Arc<RequirementClass>,
    ) -> Result<Vec<PlaceVerdict>, LifecycleError> {
        let pilots = self.store.pilots(Some(&document.vo), false).await?;
        let mut places = Vec::new();
        for (ce, queue, _, offer) in document.queues() {
            let here = pilots.iter().filter(|p| p.ce == *ce && p.queue == *queue).count();
            let mut place = PlaceVerdict {
                site: offer.site.clone(),
                ce: ce.clone(),
                queue: queue.clone(),
                kept_by: None,
                score: None,
                pilots: u32::try_from(here).unwrap_or(u32::MAX),
            };
            let ban = document.ban_of(ce);
            place.kept_by = if let Some(Banned::Site(site)) = &ban {
                obstacle("site", site, "is banned")
            } else if here == 0 && ban.is_some() {
                obstacle("ce", ce, "is banned")
            } else if let Some(ahead) =
                self.downtime(document, ce).filter(|ahead| ahead.keeps(class, &offer))
            {
                obstacle("downtime", ce, ahead.words)
            } else if let Err(misfit) = fit(&class.requirement, &offer.class()) {
                obstacle("condition", misfit.condition, misfit)
            } else {
                let (kept_by, score) = self.ask_rule(class, offer.class()).await?;
                place.score = score;
                kept_by.or_else(|| {
                    let unbound = self.policies.backend(&document.vo, ce, queue).err()?;
                    obstacle("backend", ce, unbound)
                })
            };
            places.push(place);
        }
        Ok(places)
    }

    async fn ask_rule(
        &self,
        class: &Arc<RequirementClass>,
        offer: spinor_model::offer::Offer,
    ) -> Result<(Option<Obstacle>, Option<i64>), LifecycleError> {
        let rule = match self.policies.rule(&class.vo, None) {
            Ok(rule) => rule,
            Err(unbound) => return Ok((obstacle("rule", "none", unbound), None)),
        };
        let name = rule.decider().to_string();
        let classes = [class.clone()];
        let verdicts = tokio::task::spawn_blocking(move || rule.evaluate(&offer, &classes)).await?;
        Ok(match verdicts.as_deref() {
            Ok([Verdict::Accept(score)]) => (None, Some(*score)),
            Ok([Verdict::Reject(reason) | Verdict::Held(reason)]) => {
                (obstacle("rule", name, reason), None)
            }
            Ok(_) => (obstacle("rule", name, "gave no verdict"), None),
            Err(error) => (obstacle("rule", name, error), None),
        })
    }

    fn summarise(&self, job: &JobRecord, places: &[PlaceVerdict]) -> String {
        let open: Vec<&PlaceVerdict> = places.iter().filter(|p| p.kept_by.is_none()).collect();
        if job.status != JobState::Waiting {
            return format!("the job is {} ({}), not waiting", job.status, job.minor_status);
        }
        if let Some(problem) = self.problem(&job.vo) {
            return format!("held: {problem}");
        }
        match (places.len(), open.len()) {
            (0, _) => format!("VO {} has no CE: nothing can run its jobs", job.vo),
            (_, 0) => "nothing can run it: see what keeps it from each queue".to_owned(),
            _ => {
                let pilots: u32 = open.iter().map(|place| place.pilots).sum();
                let queues = open.len();
                format!(
                    "it waits for its turn: {queues} queue(s) could run it, with {pilots} pilot(s)"
                )
            }
        }
    }
}

fn simple(summary: String) -> Explanation {
    Explanation { summary, class_waiting: 0, places: Vec::new() }
}
