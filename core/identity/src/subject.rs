//! Who calls.

use serde::{Deserialize, Serialize};
use spinor_model::id::{
    AttemptNumber, CeName, GroupName, JobId, QueueName, SiteName, Stamp, UserName, VoName,
};
use std::{collections::BTreeSet, fmt};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Subject {
    /// Runs this installation.
    Operator {
        /// For logs.
        name: String,
    },
    /// A member of a VO, in one of its groups.
    Member(Member),
    /// A pilot, bound to its stamp, VO and place.
    Pilot(PilotIdentity),
    /// A job's payload, for this attempt alone.
    Job {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: AttemptNumber,
        /// The job's VO.
        vo: VoName,
        /// The job's owner.
        owner: UserName,
    },
}

/// What numbers of people begin with whose tokens were made on the server's machine, without a provider.
pub const LOCAL: &str = "local:";

/// What numbers of robots begin with: programs that submit for people.
pub const ROBOT: &str = "robot:";

/// A member of a VO, in one of its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The VO.
    pub vo: VoName,
    /// The group they act in.
    pub group: GroupName,
    /// Who they are.
    pub user: UserName,
    /// How the VO's identity provider numbers them; the name where there is none.
    pub sub: String,
    /// The group's properties, in DIRAC's words.
    pub properties: BTreeSet<String>,
}

/// A pilot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PilotIdentity {
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
}

impl Subject {
    /// The VO it belongs to; operators belong to none.
    pub fn vo(&self) -> Option<&VoName> {
        match self {
            Self::Operator { .. } => None,
            Self::Member(member) => Some(&member.vo),
            Self::Pilot(pilot) => Some(&pilot.vo),
            Self::Job { vo, .. } => Some(vo),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { name } => write!(f, "operator {name}"),
            Self::Member(member) => write!(f, "{} ({})", member.user, member.group),
            Self::Pilot(pilot) => write!(f, "pilot {}", pilot.stamp),
            Self::Job { job, attempt, .. } => write!(f, "job {job} attempt {attempt}"),
        }
    }
}
