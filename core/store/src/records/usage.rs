//! Usage records, and how far each sink is.

use super::{AttemptRecord, JobRecord};
use serde::{Deserialize, Serialize};
use spinor_model::{
    id::VoName,
    time::Timestamp,
    usage::{Outcome, UsageRecord},
};
use std::collections::BTreeMap;

/// A usage record with its place in its VO's sequence.
pub type SequencedUsage = spinor_model::policy::Delivery;

/// What a sink still has to get.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<SequencedUsage>,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its VO.
    pub vo: VoName,
    /// Its name; empty for records that no sink of the VO has asked for.
    pub sink: String,
    /// Records it still has to get.
    pub waiting: u64,
    /// What keeps it.
    pub problem: Option<String>,
}

/// An attempt's usage as an accounting record.
pub fn usage_of(
    job: &JobRecord,
    attempt: &AttemptRecord,
    status: Outcome,
    ended: Timestamp,
) -> UsageRecord {
    let consumption = attempt.result.as_ref().map(|r| r.consumption.clone()).unwrap_or_default();
    UsageRecord {
        id: format!("{}.{}", job.id, attempt.attempt),
        vo: job.vo.clone(),
        group: job.group.clone(),
        owner: job.owner.clone(),
        job: job.id,
        attempt: attempt.attempt,
        job_type: job.job_type.clone(),
        site: attempt.site.clone(),
        ce: attempt.ce.clone(),
        status,
        cores: attempt.cores,
        started: attempt.claimed,
        ended: attempt.ended.unwrap_or(ended),
        consumption,
        attributes: BTreeMap::new(),
    }
}

/// What a group has used at a site, by outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageTotal {
    /// The group.
    pub group: String,
    /// The site.
    pub site: String,
    /// What the attempts led to.
    pub status: String,
    /// How many attempts.
    pub attempts: u64,
    /// Wall seconds times cores.
    pub core_seconds: f64,
    /// Processor seconds.
    pub cpu_seconds: f64,
}
