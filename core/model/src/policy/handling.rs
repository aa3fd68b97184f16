use super::{Decider, PolicyError};
use crate::{
    finding::Finding,
    id::{AttemptNumber, Digest, GroupName, SiteName, UserName, VoName},
    plan::{Ending, Plan},
    requirement::Requirement,
};
use serde::{Deserialize, Serialize};

/// A description as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Submitted {
    /// JSON text.
    pub description: String,
    /// The owner's VO.
    pub vo: VoName,
    /// The group it was submitted under.
    pub group: GroupName,
    /// Whose it is.
    pub owner: UserName,
    /// The VO's limit on jobs a submission.
    pub max_jobs: u32,
}

/// A description made sense of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admitted {
    /// For people; may hold parameters.
    pub name: String,
    /// What the jobs ask for, exactly.
    pub requirement: Requirement,
    /// 0 to 10.
    pub priority: u8,
    /// The normalised description as JSON.
    pub template: String,
    /// Input sandboxes it needs.
    pub input_sandboxes: Vec<Digest>,
    /// How many jobs it stands for.
    pub jobs: u32,
    /// Names of its parameters.
    pub parameters: Vec<String>,
}

/// Why a description was not admitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdmissionError {
    /// Its author should mend these.
    #[error("the description has {} mistake(s)", .0.len())]
    Findings(Vec<Finding>),
    /// The handler gave no answer.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// A parameter's values, one a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterColumn {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
}

/// An attempt to be judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedAttempt {
    /// Which.
    pub number: AttemptNumber,
    /// How many the VO allows.
    pub limit: u32,
    /// How it ended.
    pub ending: Ending,
    /// Where it ran.
    pub site: SiteName,
    /// Outputs it did not leave.
    pub missing_outputs: Vec<String>,
    /// The last of its standard error.
    pub stderr_tail: String,
}

/// Another attempt, please.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// For people.
    pub reason: String,
    /// Seconds until it may be matched again.
    pub delay_seconds: u32,
    /// Whether the site of this attempt is out of question.
    pub avoid_site: bool,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// It is done.
    Done,
    /// It failed, for this reason.
    Failed(String),
    /// It should be tried again.
    Retry(Retry),
}

/// What a job of a type means. Pure.
pub trait JobHandler: Send + Sync {
    /// Who decides.
    fn decider(&self) -> &Decider;

    /// Validates, normalises and expands a description.
    fn admit(&self, submitted: &Submitted) -> Result<Admitted, AdmissionError>;

    /// Parameters of the jobs from `offset` on, at most `limit`.
    fn page(
        &self,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, PolicyError>;

    /// What the pilot must run.
    fn plan(&self, template: &str) -> Result<Plan, PolicyError>;

    /// Admits a description and plans what it became: two questions that are always asked together.
    fn admit_and_plan(&self, submitted: &Submitted) -> Result<(Admitted, Plan), AdmissionError> {
        let admitted = self.admit(submitted)?;
        let plan = self.plan(&admitted.template)?;
        Ok((admitted, plan))
    }

    /// What it would say to [`Self::admit_and_plan`], if it remembers that from before: nobody is asked.
    fn remembered(&self, _submitted: &Submitted) -> Option<(Admitted, Plan)> {
        None
    }

    /// Judges an ended attempt.
    fn conclude(&self, template: &str, attempt: &EndedAttempt) -> Result<Conclusion, PolicyError>;
}
