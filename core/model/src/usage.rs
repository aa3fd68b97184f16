//! What an attempt used, as accounting sees it.

use crate::{
    id::{AttemptNumber, CeName, GroupName, JobId, JobType, SiteName, UserName, VoName},
    plan::Consumption,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one attempt of one job used. Never changed once made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// `JOB.ATTEMPT`, unique in the installation.
    pub id: String,
    /// The job's VO.
    pub vo: VoName,
    /// The job's group.
    pub group: GroupName,
    /// The job's owner.
    pub owner: UserName,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The job's type.
    pub job_type: JobType,
    /// Where it ran.
    pub site: SiteName,
    /// Where it ran.
    pub ce: CeName,
    /// What the attempt led to.
    pub status: Outcome,
    /// Cores it held.
    pub cores: u32,
    /// When its pilot claimed it, by the server's clock.
    pub started: Timestamp,
    /// When it ended, by the server's clock.
    pub ended: Timestamp,
    /// What it used.
    #[serde(flatten)]
    pub consumption: Consumption,
    /// Whatever else a sink may want.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What an attempt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The job is done.
    Done,
    /// The job failed.
    Failed,
    /// Somebody ended it.
    Killed,
    /// The job was tried again.
    Rescheduled,
}

impl Outcome {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Killed => "Killed",
            Self::Rescheduled => "Rescheduled",
        }
    }
}

/// What a sink says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// Stored now.
    Stored,
    /// It was there already.
    Repeated,
    /// It can never be stored.
    Refused(String),
    /// Try it and all later ones again.
    Later(String),
}
