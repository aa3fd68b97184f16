use super::{Decider, PolicyError};
use crate::{
    id::{ClassId, GroupName, JobType, VoName},
    offer::Offer,
    requirement::Requirement,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// All that matching may look at: jobs that agree on it are one class.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequirementClass {
    /// Its number.
    pub id: ClassId,
    /// The jobs' VO.
    pub vo: VoName,
    /// The jobs' group.
    pub group: GroupName,
    /// The jobs' type.
    pub job_type: JobType,
    /// What they ask, rounded.
    pub requirement: Requirement,
}

/// What a rule says of an offer and a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may go there; higher scores go first among the classes of one group.
    Accept(i64),
    /// It may not, for this reason.
    #[serde(with = "shared_text")]
    Reject(Arc<str>),
    /// The rule broke on this class alone, so its jobs are held.
    #[serde(with = "shared_text")]
    Held(Arc<str>),
}

/// Texts that many verdicts share, written as plain texts.
mod shared_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::sync::Arc;

    pub fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Into::into)
    }
}

/// Which of a VO's jobs go where. Pure.
pub trait MatchingRule: Send + Sync {
    /// Who decides.
    fn decider(&self) -> &Decider;

    /// Verdicts on `classes`, in order. Verdict *i* depends on the offer and class *i* alone.
    fn evaluate(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError>;
}
