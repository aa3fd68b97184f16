//! The loops that keep the parts moving.

use crate::{Lifecycle, servers};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Between rounds of cleaning up after pilots.
const CLEANING: Duration = Duration::from_secs(30);

/// The running loops; they stop when this is dropped.
pub struct Tasks(JoinSet<()>);

impl Tasks {
    /// Runs something else along with them.
    pub fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

impl Lifecycle {
    /// Starts all loops.
    pub fn run(self: &Arc<Self>) -> Tasks {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().watch_forever());
        tasks.spawn(self.clone().supply_forever());
        tasks.spawn(self.clone().clean_forever());
        tasks.spawn(self.clone().conclude_forever());
        tasks.spawn(self.clone().deliver_forever());
        tasks.spawn(self.clone().observe_forever());
        tasks.spawn(self.clone().meet_others_forever());
        tasks.spawn(self.clone().count_queues_forever());
        tasks.spawn(self.clone().look_at_nodes_forever());
        Tasks(tasks)
    }

    async fn watch_forever(self: Arc<Self>) {
        loop {
            if self.has_duty()
                && let Err(error) = self.watch().await
            {
                tracing::error!(%error, "watchdog");
            }
            sleep(self.pace.tick).await;
        }
    }

    async fn supply_forever(self: Arc<Self>) {
        loop {
            if self.has_duty()
                && let Err(error) = self.supply().await
            {
                tracing::error!(%error, "supply");
            }
            tokio::select! {
                () = self.supplying.notified() => {}
                () = sleep(self.pace.supply) => {}
            }
            // Whatever comes in at once is served at once.
            sleep(self.pace.tick.min(self.pace.supply)).await;
        }
    }

    async fn clean_forever(self: Arc<Self>) {
        loop {
            if self.has_duty()
                && let Err(error) = self.clean().await
            {
                tracing::error!(%error, "what pilots left");
            }
            sleep(CLEANING).await;
        }
    }

    async fn conclude_forever(self: Arc<Self>) {
        loop {
            let round = match self.has_duty() {
                true => self.conclude_pending().await,
                false => Ok(0),
            };
            match round {
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

    async fn meet_others_forever(self: Arc<Self>) {
        while self.store.shared() {
            if let Err(error) = self.meet_others().await {
                tracing::error!(%error, "other servers");
            }
            sleep(self.pace.tick.min(servers::ROUND)).await;
        }
    }

    async fn count_queues_forever(self: Arc<Self>) {
        while self.store.shared() {
            if let Err(error) = self.look_at_queues().await {
                tracing::error!(%error, "queues");
            }
            sleep(self.pace.supply.min(servers::COUNT)).await;
        }
    }

    async fn look_at_nodes_forever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.look_at_nodes().await {
                tracing::error!(%error, "banned nodes");
            }
            sleep(self.pace.tick).await;
        }
    }

    async fn observe_forever(self: Arc<Self>) {
        loop {
            sleep(self.pace.tick).await;
            if let Err(error) = self.keep_observed().await {
                tracing::error!(%error, "observations");
            }
        }
    }

    async fn deliver_forever(self: Arc<Self>) {
        loop {
            let round = match self.has_duty() {
                true => self.deliver_usage().await,
                false => Ok(0),
            };
            match round {
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
