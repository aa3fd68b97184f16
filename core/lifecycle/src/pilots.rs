//! Pilots start, are heard of, and bring results.

use crate::{Lifecycle, LifecycleError};
use spinor_identity::{secret, subject::PilotIdentity};
use spinor_model::{
    id::{NodeName, Stamp},
    plan::AttemptResult,
    state::PilotState,
};
use spinor_store::{Beat, BeatAnswer, PilotRecord, PilotStart, ResultAnswer};
use std::time::Duration;

/// Why a pilot may not start.
#[derive(Debug, thiserror::Error)]
pub enum StartRefusal {
    /// Wrong stamp or secret.
    #[error("pilot {0}: the stamp or the secret is wrong")]
    WrongSecret(Stamp),
    /// The secret has been used.
    #[error("pilot {0}: the secret has been used by another process")]
    UsedSecret(Stamp),
    /// It has ended.
    #[error("pilot {0} is {1}: its life is over")]
    Ended(Stamp, PilotState),
    /// Something is missing or broken.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl From<spinor_store::StoreError> for StartRefusal {
    fn from(error: spinor_store::StoreError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl Lifecycle {
    /// A pilot shows its secret, and says which node it is on. `start` is what it chose for this use of it.
    pub async fn start_pilot(
        &self,
        stamp: Stamp,
        its_secret: &str,
        start: &str,
        node: Option<NodeName>,
    ) -> Result<PilotRecord, StartRefusal> {
        let (its_secret, start) = (secret::hash(its_secret), secret::hash(start));
        let now = self.now();
        match self.store.start_pilot(&stamp, its_secret, start, node.as_ref(), now).await? {
            PilotStart::Started(pilot) => {
                if let Some(node) = &node {
                    self.arrived(&pilot.vo, &pilot.ce, node).await?;
                }
                Ok(*pilot)
            }
            PilotStart::WrongSecret => Err(StartRefusal::WrongSecret(stamp)),
            PilotStart::UsedSecret => Err(StartRefusal::UsedSecret(stamp)),
            PilotStart::Ended(state) => Err(StartRefusal::Ended(stamp, state)),
        }
    }

    /// A pilot tells of its jobs; what it should do with each.
    pub async fn heartbeat(
        &self,
        pilot: &PilotIdentity,
        beats: &[Beat],
    ) -> Result<Vec<BeatAnswer>, LifecycleError> {
        let limits = &self.document(&pilot.vo)?.limits;
        let now = self.now();
        let lease_until = now.plus(Duration::from_secs(limits.lease_seconds));
        self.store.pilot_seen(&pilot.stamp, 0, now).await?;
        Ok(self.store.beat(&pilot.stamp, beats, lease_until, now).await?)
    }

    /// A pilot brings a result.
    pub async fn finish(
        &self,
        pilot: &PilotIdentity,
        result: &AttemptResult,
    ) -> Result<ResultAnswer, LifecycleError> {
        let answer = self.store.finish(&pilot.stamp, result, self.now()).await?;
        match answer {
            ResultAnswer::Accepted => {
                self.concluding.notify_one();
                if let Err(error) = self.suspect(pilot, result).await {
                    tracing::warn!(%error, "whether its node is to blame is not known");
                }
            }
            ResultAnswer::UsageOnly => self.delivering.notify_one(),
            ResultAnswer::Repeated | ResultAnswer::Refused(_) => {}
        }
        Ok(answer)
    }

    /// A pilot says goodbye. Whatever it still holds is lost.
    pub async fn end_pilot(&self, pilot: &PilotIdentity) -> Result<(), LifecycleError> {
        self.bury(&pilot.stamp, PilotState::Done, "", "its pilot ended").await?;
        if let Some(record) = self.store.pilot(&pilot.stamp).await? {
            let why = match self.on_banned_node(&pilot.stamp) {
                true => "a pilot there came to a banned node",
                false => "a pilot there found no work",
            };
            let idle = (record.jobs_run == 0).then_some(why);
            self.note_pilot(&record, idle);
        }
        Ok(())
    }

    /// A pilot is no more.
    pub(crate) async fn bury(
        &self,
        stamp: &Stamp,
        state: PilotState,
        reason: &str,
        loss: &str,
    ) -> Result<(), LifecycleError> {
        let now = self.now();
        self.store.set_pilot_state(stamp, state, reason, now).await?;
        if self.store.lose_attempts_of(stamp, loss, now).await? > 0 {
            self.concluding.notify_one();
            self.delivering.notify_one();
        }
        Ok(())
    }
}
