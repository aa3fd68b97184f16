//! What became of pilots, as their CEs tell.

use crate::{Lifecycle, LifecycleError, lock};
use futures::future::try_join_all;
use spinor_model::{
    id::{CeName, Stamp, VoName},
    policy::{ComputingBackend, Decider, PilotStatus},
    state::PilotState,
};
use spinor_store::PilotRecord;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Pilots of one call to a backend, which has its deadline.
const AT_ONCE: usize = 500;

/// A submission that is not heard of for so long is looked for.
const FIND_AFTER: Duration = Duration::from_secs(10);

/// A pilot of which its CE says nothing that is understood, and that does not call, is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3600);

impl Lifecycle {
    /// Asks CEs what became of a VO's pilots.
    pub(super) async fn follow(
        &self,
        vo: &VoName,
        pilots: &[PilotRecord],
    ) -> Result<(), LifecycleError> {
        let mut by_sender: HashMap<(&CeName, Option<&Decider>), Vec<&PilotRecord>> = HashMap::new();
        for pilot in pilots {
            by_sender.entry((&pilot.ce, pilot.sent_by.as_ref())).or_default().push(pilot);
        }
        let asked = by_sender
            .into_iter()
            .map(async |((ce, sent_by), pilots)| self.follow_ce(vo, ce, sent_by, &pilots).await);
        try_join_all(asked).await?;
        Ok(())
    }

    async fn follow_ce(
        &self,
        vo: &VoName,
        ce: &CeName,
        sent_by: Option<&Decider>,
        pilots: &[&PilotRecord],
    ) -> Result<(), LifecycleError> {
        let Ok(backend) = self.policies.backend_that_sent(vo, ce, sent_by) else { return Ok(()) };
        self.look_for(&backend, pilots).await?;
        let known: Vec<(&PilotRecord, String)> =
            pilots.iter().filter_map(|p| Some((*p, p.reference.clone()?))).collect();
        let key = (vo.clone(), ce.clone());
        for known in known.chunks(AT_ONCE) {
            let references: Vec<String> = known.iter().map(|(_, r)| r.clone()).collect();
            let states = match backend.status(&references).await {
                Ok(states) => states,
                Err(error) => {
                    let before = lock(&self.silent).insert(key, error.to_string());
                    if before.is_none() {
                        tracing::warn!(%vo, %ce, %error, "no word on pilots");
                    }
                    break;
                }
            };
            if lock(&self.silent).remove(&key).is_some() {
                tracing::info!(%vo, %ce, "word on pilots again");
            }
            let aborted = references.iter().zip(&states);
            let aborted = aborted.filter(|(_, state)| matches!(state, PilotStatus::Aborted(_)));
            let aborted: Vec<String> = aborted.map(|(reference, _)| reference.clone()).collect();
            for ((pilot, _), state) in known.iter().zip(states) {
                self.heard(pilot, state).await?;
            }
            // One that is held there could come back, when nobody waits for it any more.
            if !aborted.is_empty()
                && let Err(error) = backend.cancel(&aborted).await
            {
                tracing::warn!(%vo, %ce, %error, "pilots that are given up stay there");
            }
        }
        Ok(())
    }

    /// Submissions that were cut off are found, or were never there.
    async fn look_for(
        &self,
        backend: &Arc<dyn ComputingBackend>,
        pilots: &[&PilotRecord],
    ) -> Result<(), LifecycleError> {
        let now = self.now();
        let missing: Vec<_> = pilots
            .iter()
            .filter(|p| p.reference.is_none() && now.since(p.submitted) > FIND_AFTER)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let stamps: Vec<Stamp> = missing.iter().map(|pilot| pilot.stamp.clone()).collect();
        let found = match backend.find(&stamps).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cut-off submissions could not be looked for");
                return Ok(());
            }
        };
        for (pilot, reference) in missing.iter().zip(found) {
            if let Some(reference) = reference {
                self.store.set_pilot_reference(&pilot.stamp, &reference).await?;
                continue;
            }
            let why = "never reached its CE";
            self.bury(&pilot.stamp, PilotState::Aborted, why, why).await?;
            self.note_pilot(pilot, Some("a pilot never reached it"));
        }
        Ok(())
    }

    async fn heard(&self, pilot: &PilotRecord, state: PilotStatus) -> Result<(), LifecycleError> {
        let (stamp, now) = (&pilot.stamp, self.now());
        if let PilotStatus::Unknown(words) = state {
            return self.not_understood(pilot, &words).await;
        }
        if pilot.unknown_since.is_some() {
            self.store.set_pilot_unknown(stamp, None, now).await?;
        }
        match state {
            PilotStatus::Waiting if pilot.status == PilotState::Submitted => {
                Ok(self.store.set_pilot_state(stamp, PilotState::Waiting, "", now).await?)
            }
            PilotStatus::Waiting | PilotStatus::Running | PilotStatus::Unknown(_) => Ok(()),
            PilotStatus::Done => self.ended(pilot, PilotState::Done, "").await,
            PilotStatus::Failed(why) => self.ended(pilot, PilotState::Failed, &why).await,
            PilotStatus::Aborted(why) => self.ended(pilot, PilotState::Aborted, &why).await,
        }
    }

    /// A CE does not know a pilot, or says a word of it that nobody knows. One that calls is alive all
    /// the same; one that does not is given up after a while.
    async fn not_understood(&self, pilot: &PilotRecord, words: &str) -> Result<(), LifecycleError> {
        let now = self.now();
        let heard = pilot.last_seen.is_some_and(|seen| now.since(seen) < GIVE_UP_AFTER);
        let long = pilot.unknown_since.is_some_and(|since| now.since(since) >= GIVE_UP_AFTER);
        if long && !heard {
            let why = format!("its CE says nothing else for an hour: {words}");
            return self.ended(pilot, PilotState::Aborted, &why).await;
        }
        if pilot.unknown_since.is_none() || pilot.status_reason != words {
            self.store.set_pilot_unknown(&pilot.stamp, Some(words), now).await?;
        }
        Ok(())
    }

    async fn ended(
        &self,
        pilot: &PilotRecord,
        end: PilotState,
        why: &str,
    ) -> Result<(), LifecycleError> {
        let loss = format!("its pilot ended: {}", if why.is_empty() { "done" } else { why });
        self.bury(&pilot.stamp, end, why, &loss).await?;
        let idle = (pilot.jobs_run == 0).then_some("a pilot ended there before it had a job");
        self.note_pilot(pilot, idle);
        Ok(())
    }
}
