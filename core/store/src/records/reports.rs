//! What is reported of jobs and pilots by those who run them elsewhere.

use super::{JobRecord, QueueChange};
use spinor_model::{
    id::{AttemptNumber, Digest, GroupName, JobId, Stamp, UserName, VoName},
    sandbox::SandboxFormat,
    state::JobState,
    time::Timestamp,
};

/// For which jobs somebody may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// For all.
    All,
    /// For all of a VO.
    Vo(VoName),
    /// For their own.
    Owner {
        /// Their VO.
        vo: VoName,
        /// They.
        owner: UserName,
    },
    /// A payload: for its job, while it runs.
    Payload {
        /// Its VO.
        vo: VoName,
        /// Its job.
        job: JobId,
        /// The attempt that it is.
        attempt: AttemptNumber,
    },
    /// For none.
    Nobody,
}

impl Speaker {
    /// Whether a job is there for them: another VO's are as if they were not.
    pub fn sees(&self, job: &JobRecord) -> bool {
        match self {
            Self::All => true,
            Self::Vo(vo) | Self::Owner { vo, .. } | Self::Payload { vo, .. } => *vo == job.vo,
            Self::Nobody => false,
        }
    }

    /// Whether they may speak for a job; of one that is not there, only who speaks for all of their VO.
    pub fn may(&self, id: JobId, job: Option<&JobRecord>) -> bool {
        let job = job.filter(|job| self.sees(job));
        match (self, job) {
            (Self::All | Self::Vo(_), _) => true,
            (Self::Owner { owner, .. }, Some(job)) => *owner == job.owner,
            (Self::Payload { job: own, attempt, .. }, Some(job)) => {
                let runs = job.status.is_held_by_pilot() || job.status == JobState::Completing;
                *own == id && job.attempt == *attempt && runs
            }
            (Self::Owner { .. } | Self::Payload { .. } | Self::Nobody, _) => false,
        }
    }
}

/// What became of reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// They were heard.
    Heard {
        /// What became of each.
        answers: Vec<ReportAnswer>,
        /// How queues grew or shrank.
        changes: Vec<QueueChange>,
    },
    /// This job is not theirs to speak for.
    NotYours(JobId),
}

/// What became of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beaten {
    /// It was heard: what jobs are told.
    Told(Vec<(JobId, String)>),
    /// This job is not theirs to speak for.
    NotYours(JobId),
    /// This job is not there.
    NotFound(JobId),
}

/// A report on a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// The job.
    pub job: JobId,
    /// When it was so.
    pub time: Timestamp,
    /// Its state.
    pub status: Option<JobState>,
    /// More on that.
    pub minor: Option<String>,
    /// What the payload says of itself.
    pub application: Option<String>,
    /// Who says so.
    pub source: String,
    /// Whether the table of moves does not count.
    pub force: bool,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportAnswer {
    /// It was taken; what changed.
    Taken(Changed),
    /// There is no such job.
    NotFound,
    /// Not possible, for this reason.
    Refused(String),
}

/// What a report changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The job's state now, if it changed.
    pub status: Option<JobState>,
    /// More on that.
    pub minor: Option<String>,
    /// What the payload says of itself.
    pub application: Option<String>,
    /// It began to run then.
    pub started: Option<Timestamp>,
    /// It ended then.
    pub ended: Option<Timestamp>,
    /// It was alive then.
    pub heartbeat: Option<Timestamp>,
}

/// What a sandbox is to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SandboxKind {
    /// What it begins with.
    Input,
    /// What it leaves.
    Output,
}

impl SandboxKind {
    /// As DIRAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Output => "Output",
        }
    }
}

/// A pilot that somebody else sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredPilot {
    /// Its name.
    pub stamp: Stamp,
    /// For whom.
    pub vo: VoName,
    /// What its CE calls it.
    pub reference: String,
    /// Where it goes.
    pub destination_site: String,
    /// Where it runs.
    pub grid_site: String,
    /// How it gets there.
    pub grid_type: String,
    /// Where it is in its life, in DIRAC's words.
    pub status: String,
}

/// A change of what is known of a pilot.
#[derive(Debug, Clone, PartialEq)]
pub struct PilotChange {
    /// Which.
    pub stamp: Stamp,
    /// In DIRAC's words.
    pub status: Option<String>,
    /// More on that.
    pub status_reason: Option<String>,
    /// What its cores can do.
    pub benchmark: Option<f64>,
    /// Where it goes.
    pub destination_site: Option<String>,
    /// The queue there.
    pub queue: Option<String>,
    /// Where it runs.
    pub grid_site: Option<String>,
    /// How it gets there.
    pub grid_type: Option<String>,
    /// Whether it was accounted for.
    pub accounting_sent: Option<bool>,
    /// The job that it runs.
    pub current_job: Option<i64>,
}

/// A sandbox on its way in.
#[derive(Debug, Clone)]
pub struct NewSandbox {
    /// Its VO.
    pub vo: VoName,
    /// Who brings it; a pilot if nobody.
    pub owner: Option<UserName>,
    /// In which group.
    pub group: Option<GroupName>,
    /// Its content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// How it is packed.
    pub format: SandboxFormat,
}
