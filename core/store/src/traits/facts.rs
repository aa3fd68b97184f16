use crate::{StoreError, records::*};
use async_trait::async_trait;
use spinor_model::{
    id::{CeName, QueueName, VoName},
    time::Timestamp,
};

/// What steers pilots is told.
#[async_trait]
pub trait FactStore: Send + Sync {
    /// Keeps facts, each in the place of what was told of the same before.
    async fn tell_facts(&self, vo: &VoName, facts: &[FactRecord]) -> Result<(), StoreError>;

    /// A VO's facts that still count, by name and subject.
    async fn facts(&self, vo: &VoName, now: Timestamp) -> Result<Vec<FactRecord>, StoreError>;

    /// How many pilots ended without a job since then, by queue.
    async fn empty_pilots(
        &self,
        vo: &VoName,
        since: Timestamp,
    ) -> Result<Vec<(CeName, QueueName, u32)>, StoreError>;
}
