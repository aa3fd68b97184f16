//! Pilots start, are heard of, and bring results.

use crate::{Lifecycle, LifecycleError};
use spinor_identity::{secret, subject::PilotIdentity};
use spinor_model::{id::Stamp, plan::AttemptResult, state::PilotState};
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
    /// A pilot shows its secret. `start` is what it chose for this use of it.
    pub async fn start_pilot(
        &self,
        stamp: Stamp,
        its_secret: &str,
        start: &str,
    ) -> Result<PilotRecord, StartRefusal> {
        let (its_secret, start) = (secret::hash(its_secret), secret::hash(start));
        match self.store.start_pilot(&stamp, its_secret, start, self.now()).await? {
            PilotStart::Started(pilot) => Ok(*pilot),
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
            ResultAnswer::Accepted => self.concluding.notify_one(),
            ResultAnswer::UsageOnly => self.delivering.notify_one(),
            ResultAnswer::Repeated | ResultAnswer::Refused(_) => {}
        }
        Ok(answer)
    }

    /// A pilot says goodbye. Whatever it still holds is lost.
    pub async fn end_pilot(&self, pilot: &PilotIdentity) -> Result<(), LifecycleError> {
        self.bury(&pilot.stamp, PilotState::Done, "", "its pilot ended").await?;
        if let Some(record) = self.store.pilot(&pilot.stamp).await? {
            let idle = (record.jobs_run == 0).then_some("a pilot there found no work");
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
