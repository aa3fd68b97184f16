//! Several servers on one database: each answers requests and matches; one at a time has the duties
//! that only one may have (supply, the watchdog, conclusions, delivery), and another takes them on when
//! it is gone.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_model::time::Timestamp;
use spinor_store::{QueueKey, ServerRecord};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Servers meet at least this often.
pub const ROUND: Duration = Duration::from_millis(500);

/// Queues are counted anew at least this often.
pub const COUNT: Duration = Duration::from_secs(1);

/// How long the database may take to say who has the duties.
const ANSWER: Duration = Duration::from_secs(2);

/// What is begun on duty should be over before another begins it.
const MARGIN: Duration = Duration::from_secs(1);

/// A server that has not been heard of for so long loses its duties.
const PATIENCE: Duration = Duration::from_secs(5);

impl Lifecycle {
    /// Whether this server has the duties that only one may have.
    pub fn has_duty(&self) -> bool {
        !self.store.shared() || self.now().0 < self.duty_until.load(Ordering::Acquire)
    }

    /// One round: keep or take on the duties, learn who else is up, and what came in through them.
    pub async fn meet_others(&self) -> Result<(), LifecycleError> {
        let (now, had) = (self.now(), self.has_duty());
        let taking = self.store.take_duty("lifecycle", &self.server, now.plus(PATIENCE), now);
        // Without the database's word the duties end by themselves, before another takes them on.
        if let Ok(taken) = tokio::time::timeout(ANSWER, taking).await {
            let until = if taken? { now.plus(PATIENCE - MARGIN).0 } else { 0 };
            self.duty_until.store(until, Ordering::Release);
        }
        if self.has_duty() && !had {
            tracing::info!(server = self.server, "this server has the duties now");
        }
        let others = self.other_servers().await?;
        self.others.store(Arc::new(others.into_iter().map(|server| server.url).collect()));
        Ok(())
    }

    /// Other servers that are up.
    pub async fn other_servers(&self) -> Result<Vec<ServerRecord>, LifecycleError> {
        let patience = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp(self.now().0.saturating_sub(patience));
        let mut servers = self.store.servers(since).await?;
        servers.retain(|server| server.server != self.server);
        Ok(servers)
    }

    /// Counts queues anew: others submit and match as well.
    pub(crate) async fn look_at_queues(&self) -> Result<(), LifecycleError> {
        let queues: HashMap<QueueKey, u64> = self.store.queues().await?.into_iter().collect();
        if queues.keys().any(|queue| !lock(&self.index).knows(queue.class)) {
            let classes = self.store.classes().await?;
            lock(&self.index).add_classes(classes);
        }
        if lock(&self.index).count_anew(&queues) {
            self.supplying.notify_one();
        }
        self.concluding.notify_one();
        Ok(())
    }
}
