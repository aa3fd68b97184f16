use super::{Decider, PolicyError};
use crate::{
    id::{ClassId, GroupName, JobType, VoName},
    offer::Offer,
    requirement::Requirement,
};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may go there; higher scores go first among the classes of one group.
    Accept(i64),
    /// It may not, for this reason.
    Reject(Arc<str>),
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
