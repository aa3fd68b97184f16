use super::{Effectful, PolicyError};
use crate::usage::{Ack, UsageRecord};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A usage record and its place in its VO's sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// From 1.
    pub sequence: u64,
    /// The record.
    pub record: UsageRecord,
}

/// Where usage records go: at least once, in order, a batch retried unchanged.
#[async_trait]
pub trait AccountingSink: Effectful {
    /// One ack a record, in order.
    async fn deliver(&self, records: &[Delivery]) -> Result<Vec<Ack>, PolicyError>;
}
