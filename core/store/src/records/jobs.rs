//! Jobs as people see them, and what they order.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{
        AttemptNumber, ClassId, GroupName, JobId, JobType, SiteName, TemplateId, UserName, VoName,
    },
    state::JobState,
    time::Timestamp,
};

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
    /// For whom its owner, a robot, submitted it; empty otherwise.
    pub person: String,
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
    /// The newest of them rather than the first.
    pub newest: bool,
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
    /// What the payload said of itself, if that was told then.
    pub application_status: String,
    /// Who brought it there.
    pub source: String,
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

/// How often a job may be sent back to the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// At most so many times.
    UpTo(u32),
    /// Its count begins anew.
    Reset,
}
