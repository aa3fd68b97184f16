//! The loops that keep the parts moving.

use crate::{Lifecycle, LifecycleError};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// The running loops; they stop when this is dropped.
pub struct Tasks(#[allow(dead_code)] JoinSet<()>);

impl Lifecycle {
    /// Starts all loops.
    pub fn run(self: &Arc<Self>) -> Tasks {
        let mut tasks = JoinSet::new();
        let (tick, supply) = (self.pace.tick, self.pace.supply);
        let this = self.clone();
        tasks.spawn(every("watchdog", tick, move || {
            let this = this.clone();
            async move { this.watch().await }
        }));
        let this = self.clone();
        tasks.spawn(every("supply", supply, move || {
            let this = this.clone();
            async move { this.supply().await }
        }));
        tasks.spawn(self.clone().conclude_forever());
        tasks.spawn(self.clone().deliver_forever());
        Tasks(tasks)
    }

    async fn conclude_forever(self: Arc<Self>) {
        loop {
            match self.conclude_pending().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::error!(%error, "conclusion"),
            }
            tokio::select! {
                () = self.concluding.notified() => {}
                () = sleep(self.pace.tick) => {}
            }
        }
    }

    async fn deliver_forever(self: Arc<Self>) {
        loop {
            match self.deliver_usage().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::error!(%error, "accounting"),
            }
            tokio::select! {
                () = self.delivering.notified() => {}
                () = sleep(self.pace.tick) => {}
            }
        }
    }
}

async fn every<F: Future<Output = Result<(), LifecycleError>>>(
    name: &'static str,
    pause: Duration,
    round: impl Fn() -> F,
) {
    loop {
        if let Err(error) = round().await {
            tracing::error!(%error, "{name}");
        }
        sleep(pause).await;
    }
}
