//! Attempts: claimed, told of, ended, judged.

use super::{JobRecord, QueueKey};
use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{AttemptNumber, CeName, Digest, GroupName, JobId, SiteName, Stamp, UserName, VoName},
    plan::{AttemptResult, Plan},
    policy::Decider,
    requirement::Requirement,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// An attempt as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: AttemptNumber,
    /// Where it is in its own life.
    pub state: AttemptState,
    /// The pilot that has or had it.
    pub stamp: Stamp,
    /// Where.
    pub site: SiteName,
    /// Where.
    pub ce: CeName,
    /// Cores it holds.
    pub cores: u32,
    /// The rule that let it go there.
    pub decider: Decider,
    /// How the rule scored it.
    pub score: i64,
    /// When it was claimed.
    pub claimed: Timestamp,
    /// When its payload was first heard of.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub result: Option<AttemptResult>,
    /// The last of its standard output so far.
    pub stdout_tail: String,
}

/// Where an attempt is in its own life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptState {
    /// Its pilot holds it.
    Active,
    /// It is to be ended by its pilot; its result counts for accounting alone.
    Killing,
    /// Its result was taken.
    Ended,
    /// Given up: a late result is refused.
    Lost,
}

impl AttemptState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Killing => "killing",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }
}

/// A claim of jobs from one queue for one pilot.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// From where.
    pub queue: QueueKey,
    /// At most so many jobs.
    pub limit: u32,
    /// For whom.
    pub stamp: Stamp,
    /// Where it is.
    pub site: SiteName,
    /// Where it is.
    pub ce: CeName,
    /// Cores each job gets.
    pub cores: u32,
    /// The rule that allows it.
    pub decider: Decider,
    /// How it scored.
    pub score: i64,
    /// Secrets, one for each job at most.
    pub nonces: Vec<String>,
    /// Attempts that the pilot knows of. If it has others, the answer to an earlier question was lost:
    /// it gets those first, and nothing new.
    pub holds: Vec<(JobId, AttemptNumber)>,
    /// The VO whose limit counts.
    pub vo: VoName,
    /// Its limit of running jobs.
    pub max_running: Option<u64>,
    /// Until when the pilot must be heard of.
    pub lease_until: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The job.
    pub id: JobId,
    /// Its new attempt.
    pub attempt: AttemptNumber,
    /// The attempt's secret.
    pub nonce: String,
    /// Whose it is.
    pub owner: UserName,
    /// Whose it is.
    pub group: GroupName,
    /// Its place in its template.
    pub row: u32,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// What to run, parameters not put in.
    pub plan: Plan,
    /// What it asked for, exactly.
    pub requirement: Requirement,
    /// Its input sandboxes.
    pub sandboxes: Vec<Digest>,
    /// Cores it gets.
    pub cores: u32,
}

/// What a pilot should do with a job it told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeatAnswer {
    /// Go on.
    Continue,
    /// End it.
    Kill,
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultAnswer {
    /// It was taken; a handler will judge it.
    Accepted,
    /// It had been taken before.
    Repeated,
    /// It counts for accounting alone: the job was killed or rescheduled.
    UsageOnly,
    /// It was refused, for this reason.
    Refused(String),
}

/// An ended attempt that a handler must judge.
#[derive(Debug, Clone)]
pub struct PendingConclusion {
    /// The job.
    pub job: JobRecord,
    /// The attempt.
    pub attempt: AttemptRecord,
    /// Attempts since a person last rescheduled the job, this one included.
    pub attempts_used: u32,
    /// The normalised description.
    pub template: String,
    /// What the job asked for, exactly.
    pub requirement: Requirement,
    /// Who planned it, and so must conclude it.
    pub planned_by: Decider,
}

/// A handler's judgement, made ready.
#[derive(Debug, Clone)]
pub enum Judgement {
    /// The job is done.
    Done,
    /// The job failed.
    Failed(String),
    /// It is tried again.
    Retry {
        /// For people.
        reason: String,
        /// When it may wait again.
        not_before: Timestamp,
        /// What it asks for from now on, if that changed.
        requirement: Option<Box<Requirement>>,
    },
}
