//! Time passes: leases run out, stalled attempts are given up, delayed jobs come due.

use crate::{Lifecycle, LifecycleError};
use spinor_model::time::Timestamp;
use std::time::Duration;

/// A server that said so since is up.
const HEARD: Duration = Duration::from_secs(10);

impl Lifecycle {
    /// When a server comes up, everyone gets a full lease: nobody could be heard before.
    pub async fn wake_up(&self) -> Result<(), LifecycleError> {
        let now = self.now();
        let before = self.store.server_alive(now).await?;
        if let Some(before) = before {
            let down = now.since(before).as_secs();
            tracing::info!(seconds_down = down, "taking up where the last server stopped");
        }
        // Where another server was up all the time, everybody could be heard.
        let unheard = before.is_none_or(|before| now.since(before) > HEARD);
        if self.store.shared() && !unheard {
            return Ok(());
        }
        let leases = self.documents().values().map(|d| d.limits.lease_seconds).max();
        let lease = Duration::from_secs(leases.unwrap_or(120));
        self.store.renew_leases(now.plus(lease)).await?;
        Ok(())
    }

    /// One round.
    pub async fn watch(&self) -> Result<(), LifecycleError> {
        let now = self.now();
        self.store.server_alive(now).await?;
        let due = self.store.release_due(now).await?;
        self.note(&due).await?;
        self.store.stall_expired(now).await?;
        for (vo, document) in self.documents().iter() {
            let patience =
                i64::try_from(document.limits.stalled_seconds).unwrap_or(i64::MAX / 2000);
            let before = Timestamp(now.0.saturating_sub(patience.saturating_mul(1000)));
            self.store.fail_unheard(vo, before, now).await?;
            if self.store.lose_stalled(vo, before, now).await? > 0 {
                self.concluding.notify_one();
            }
        }
        Ok(())
    }
}
