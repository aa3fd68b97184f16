//! What people and programs see of jobs, attempts and pilots.

use serde::{Deserialize, Serialize};
use spinor_model::plan::Ending;
use spinor_store::{AttemptRecord, EventRecord, JobRecord, PilotRecord};
use utoipa::ToSchema;

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its number.
    pub job_id: i64,
    /// Its name.
    pub name: String,
    /// Its VO.
    pub vo: String,
    /// Its group.
    pub group: String,
    /// Its owner.
    pub owner: String,
    /// For whom its owner, a robot, submitted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub person: String,
    /// Its type.
    pub job_type: String,
    /// Where it is in its life.
    pub status: String,
    /// More on that.
    pub minor_status: String,
    /// What the payload says of itself.
    pub application_status: String,
    /// Where it is or was.
    pub site: String,
    /// 0 to 10.
    pub priority: u8,
    /// The last attempt; 0 before the first.
    pub attempt: u32,
    /// How often a person had it rescheduled.
    pub reschedules: u32,
    /// The submission it came with.
    pub submission: i64,
    /// RFC 3339.
    pub submitted: String,
    /// RFC 3339.
    pub updated: String,
    /// RFC 3339.
    pub started: Option<String>,
    /// RFC 3339.
    pub ended: Option<String>,
}

impl From<JobRecord> for JobView {
    fn from(job: JobRecord) -> Self {
        Self {
            job_id: job.id.0,
            name: job.name,
            vo: job.vo.to_string(),
            group: job.group.to_string(),
            owner: job.owner.to_string(),
            person: job.person,
            job_type: job.job_type.to_string(),
            status: job.status.to_string(),
            minor_status: job.minor_status,
            application_status: job.application_status,
            site: job.site,
            priority: job.priority,
            attempt: job.attempt.0,
            reschedules: job.reschedules,
            submission: job.template.0,
            submitted: job.submitted.to_string(),
            updated: job.updated.to_string(),
            started: job.started.map(|t| t.to_string()),
            ended: job.ended.map(|t| t.to_string()),
        }
    }
}

/// An attempt at a job, with the rule that sent it where it went.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// The job.
    pub job_id: i64,
    /// Which attempt.
    pub attempt: u32,
    /// `active`, `killing`, `ended` or `lost`.
    pub state: String,
    /// The pilot that has or had it.
    pub pilot: String,
    /// Where.
    pub site: String,
    /// Where.
    pub ce: String,
    /// Cores it holds.
    pub cores: u32,
    /// Plugin and version of the rule that decided.
    pub rule: String,
    /// Digest of the rule's component.
    pub rule_digest: String,
    /// How the rule scored it.
    pub score: i64,
    /// When it was claimed, RFC 3339.
    pub claimed: String,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
    /// How it ended, in words.
    pub ending: Option<String>,
    /// Seconds of wall time.
    pub wall_seconds: Option<f64>,
    /// Seconds of processor time.
    pub cpu_seconds: Option<f64>,
    /// Highest resident memory, in MiB.
    pub max_memory_mb: Option<u64>,
}

/// How an attempt ended, in words.
pub fn ending_in_words(ending: &Ending) -> String {
    match ending {
        Ending::Exited { code } => format!("exit code {code}"),
        Ending::Signalled { signal } => format!("signal {signal}"),
        Ending::WallTime { limit } => format!("overran its wall time of {limit} s"),
        Ending::Memory { limit } => format!("overran its memory of {limit} MiB"),
        Ending::NotStarted { reason } => format!("could not be started: {reason}"),
        Ending::Killed => "killed".to_owned(),
        Ending::Lost { reason } => format!("lost: {reason}"),
    }
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> Self {
        let result = attempt.result.as_ref();
        Self {
            job_id: attempt.job.0,
            attempt: attempt.attempt.0,
            state: attempt.state.as_str().to_owned(),
            pilot: attempt.stamp.to_string(),
            site: attempt.site.to_string(),
            ce: attempt.ce.to_string(),
            cores: attempt.cores,
            rule: attempt.decider.to_string(),
            rule_digest: attempt.decider.digest.to_string(),
            score: attempt.score,
            claimed: attempt.claimed.to_string(),
            ended: attempt.ended.map(|t| t.to_string()),
            ending: result.map(|r| ending_in_words(&r.ending)),
            wall_seconds: result.map(|r| r.consumption.wall_seconds),
            cpu_seconds: result.map(|r| r.consumption.cpu_seconds),
            max_memory_mb: result.map(|r| r.consumption.max_memory_mb),
        }
    }
}

/// An entry of a job's log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// RFC 3339.
    pub time: String,
    /// In which attempt.
    pub attempt: u32,
    /// The state it came to.
    pub status: String,
    /// More on that.
    pub minor_status: String,
    /// What the payload said of itself with that.
    #[serde(default)]
    pub application_status: String,
    /// Who brought it there.
    pub source: String,
}

impl From<EventRecord> for EventView {
    fn from(event: EventRecord) -> Self {
        Self {
            time: event.time.to_string(),
            attempt: event.attempt.0,
            status: event.status.to_string(),
            minor_status: event.minor_status,
            application_status: event.application_status,
            source: event.source,
        }
    }
}

/// A pilot.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PilotView {
    /// Its name.
    pub stamp: String,
    /// For whom.
    pub vo: String,
    /// Where.
    pub site: String,
    /// Where.
    pub ce: String,
    /// Where.
    pub queue: String,
    /// Where it is in its life.
    pub status: String,
    /// More on that.
    pub status_reason: String,
    /// What its CE calls it.
    pub reference: Option<String>,
    /// Cores it was asked for.
    pub cores: u32,
    /// Jobs it has claimed.
    pub jobs_run: u32,
    /// RFC 3339.
    pub submitted: String,
    /// When it first called, RFC 3339.
    pub started: Option<String>,
    /// When it last called, RFC 3339.
    pub last_seen: Option<String>,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
    /// The machine that it is on, as that calls itself.
    pub node: Option<String>,
}

impl From<PilotRecord> for PilotView {
    fn from(pilot: PilotRecord) -> Self {
        Self {
            stamp: pilot.stamp.to_string(),
            vo: pilot.vo.to_string(),
            site: pilot.site.to_string(),
            ce: pilot.ce.to_string(),
            queue: pilot.queue.to_string(),
            status: pilot.status.to_string(),
            status_reason: pilot.status_reason,
            reference: pilot.reference,
            cores: pilot.cores,
            jobs_run: pilot.jobs_run,
            submitted: pilot.submitted.to_string(),
            started: pilot.started.map(|t| t.to_string()),
            last_seen: pilot.last_seen.map(|t| t.to_string()),
            ended: pilot.ended.map(|t| t.to_string()),
            node: pilot.node.map(String::from),
        }
    }
}
