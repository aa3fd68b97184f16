//! What goes into the store and comes out.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{
        AttemptNumber, CeName, ClassId, Digest, GroupName, JobId, JobType, QueueName, SiteName,
        Stamp, TemplateId, UserName, VoName,
    },
    plan::{AttemptResult, Plan},
    policy::Decider,
    registry::VoDocument,
    requirement::Requirement,
    state::{JobState, PilotState},
    time::Timestamp,
    usage::{Outcome, UsageRecord},
};
use std::collections::BTreeMap;

/// A component that is kept.
#[derive(Debug, Clone)]
pub struct StoredComponent {
    /// Its digest.
    pub digest: Digest,
    /// Where it came from: `embedded`, or who uploaded it.
    pub source: String,
}

/// A VO's document in force.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// The document.
    pub document: VoDocument,
    /// From 1.
    pub revision: i64,
    /// What its bindings were resolved to.
    pub resolutions: BTreeMap<String, Digest>,
}

/// An admitted description on its way in.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// Whose it is.
    pub vo: VoName,
    /// Whose it is.
    pub group: GroupName,
    /// Whose it is.
    pub owner: UserName,
    /// Its type.
    pub job_type: JobType,
    /// Makes a repeated submission the same submission.
    pub key: Option<String>,
    /// The normalised description.
    pub template: String,
    /// What its jobs run.
    pub plan: Plan,
    /// What its jobs ask for.
    pub requirement: Requirement,
    /// Who planned it.
    pub planned_by: Decider,
    /// 0 to 10.
    pub priority: u8,
    /// Input sandboxes.
    pub sandboxes: Vec<Digest>,
    /// Its jobs.
    pub jobs: Vec<NewJob>,
}

/// A job on its way in.
#[derive(Debug, Clone, Serialize)]
pub struct NewJob {
    /// Its name, parameters put in.
    pub name: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// It is in, whole; `changes` is what the queues gained.
    Stored {
        /// The jobs, in order.
        jobs: Vec<JobId>,
        /// What the queues gained.
        changes: Vec<QueueChange>,
    },
    /// It was in already, under the same key.
    Repeated {
        /// The jobs of the first time.
        jobs: Vec<JobId>,
    },
    /// It would exceed the VO's limit of waiting jobs.
    OverQuota {
        /// Jobs that wait now.
        waiting: u64,
    },
    /// It names an input sandbox that nobody uploaded.
    NoSandbox(Digest),
}

/// Jobs that wait under one class for one owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueKey {
    /// The class.
    pub class: ClassId,
    /// The owner.
    pub owner: UserName,
}

/// How a queue grew or shrank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueChange {
    /// The queue.
    pub queue: QueueKey,
    /// By how many jobs.
    pub delta: i64,
}

/// A job as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// The submission it came with.
    pub template: TemplateId,
    /// Its place there, from 0.
    pub row: u32,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub vo: VoName,
    /// Whose it is.
    pub group: GroupName,
    /// Whose it is.
    pub owner: UserName,
    /// Its type.
    pub job_type: JobType,
    /// Where it is in its life.
    pub status: JobState,
    /// More on that.
    pub minor_status: String,
    /// What the payload says of itself.
    pub application_status: String,
    /// Where it is or was; `ANY` before the first match.
    pub site: String,
    /// 0 to 10.
    pub priority: u8,
    /// The last attempt; 0 before the first.
    pub attempt: AttemptNumber,
    /// How often a person had it rescheduled.
    pub reschedules: u32,
    /// Its class.
    pub class: ClassId,
    /// When it came in.
    pub submitted: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When its last attempt started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// Which jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this VO.
    pub vo: Option<VoName>,
    /// Of this owner.
    pub owner: Option<UserName>,
    /// In one of these states; empty means any.
    pub statuses: Vec<JobState>,
    /// At this site.
    pub site: Option<SiteName>,
    /// Of one submission.
    pub template: Option<TemplateId>,
    /// With ids above this.
    pub after: Option<JobId>,
    /// At most so many.
    pub limit: u32,
}

/// Jobs in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    /// The state.
    pub status: JobState,
    /// How many.
    pub count: u64,
}

/// An entry of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When.
    pub time: Timestamp,
    /// In which attempt.
    pub attempt: AttemptNumber,
    /// The state it came to.
    pub status: JobState,
    /// More on that.
    pub minor_status: String,
    /// Who brought it there.
    pub source: String,
}

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

pub use spinor_model::protocol::Beat;

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
        requirement: Option<Requirement>,
    },
}

/// What became of an order concerning a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum OrderAnswer {
    /// Done.
    Ok {
        /// The job's state now.
        status: JobState,
    },
    /// There is no such job, or it is not yours.
    NotFound,
    /// Not possible now, for this reason.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A pilot on its way.
#[derive(Debug, Clone)]
pub struct NewPilot {
    /// Its name.
    pub stamp: Stamp,
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub site: SiteName,
    /// Where.
    pub ce: CeName,
    /// Where.
    pub queue: QueueName,
    /// Cores it is to have.
    pub cores: u32,
    /// Seconds it may live.
    pub wall_time: u64,
    /// SHA-256 of its secret.
    pub secret_hash: Digest,
}

/// A pilot as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PilotRecord {
    /// Its name.
    pub stamp: Stamp,
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub site: SiteName,
    /// Where.
    pub ce: CeName,
    /// Where.
    pub queue: QueueName,
    /// Cores it was asked for.
    pub cores: u32,
    /// Where it is in its life.
    pub status: PilotState,
    /// More on that.
    pub status_reason: String,
    /// What its CE calls it.
    pub reference: Option<String>,
    /// Seconds it may live.
    pub wall_time: u64,
    /// When it was sent.
    pub submitted: Timestamp,
    /// When it first called.
    pub started: Option<Timestamp>,
    /// When it last called.
    pub last_seen: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Jobs it has claimed.
    pub jobs_run: u32,
}

/// What became of a pilot's start.
#[derive(Debug, Clone, PartialEq)]
pub enum PilotStart {
    /// It may work.
    Started(Box<PilotRecord>),
    /// Wrong stamp or secret.
    WrongSecret,
    /// The secret was used by another.
    UsedSecret,
    /// Its life is over.
    Ended(PilotState),
}

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
