//! What a VO decides for itself: the traits that plugins implement.
//!
//! The WASM host implements them over components; native twins serve tests and benchmarks. Pure
//! policies (matching, handling) are called synchronously, on a thread that may be kept busy;
//! effectful ones (computing, accounting) are async.

mod accounting;
mod computing;
mod handling;
mod matching;

pub use accounting::{AccountingSink, Delivery};
pub use computing::{
    ComputingBackend, PilotRequest, PilotStatus, PilotStream, Placeholder, Room, Submission,
};
pub use handling::{
    AdmissionError, Admitted, Conclusion, EndedAttempt, JobHandler, ParameterColumn, Retry,
    Submitted,
};
pub use matching::{MatchingRule, RequirementClass, Verdict};

use crate::{
    id::{CeName, Digest, JobType, SinkName, VoName},
    registry::BindingPath,
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Who decided: recorded with every decision, so that it can be explained and replayed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decider {
    /// `kind/name` of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: semver::Version,
    /// Digest of the component.
    pub digest: Digest,
    /// Digest of the settings it ran under.
    pub settings: Digest,
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.plugin, self.version)
    }
}

/// Why there is no answer from a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The plugin answered that it cannot.
    #[error("{plugin}: {message}")]
    Answer {
        /// Plugin and version.
        plugin: String,
        /// The plugin's own words.
        message: String,
        /// Whether it may work later.
        retry: bool,
    },
    /// The plugin broke.
    #[error("{plugin} {fault}")]
    Fault {
        /// Plugin and version.
        plugin: String,
        /// How.
        fault: Fault,
    },
}

/// How a plugin broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ran into a trap.
    #[error("trapped: {0}")]
    Trap(String),
    /// It used up its fuel.
    #[error("used up its fuel of {0} units (limit `fuel`)")]
    Fuel(u64),
    /// It took too long.
    #[error("overran its deadline of {0} ms (limit `deadline_ms`)")]
    Deadline(u64),
    /// It wanted too much memory.
    #[error("wanted more than its {0} MiB of memory (limit `memory_mb`)")]
    Memory(u64),
    /// It answered something the contract does not allow.
    #[error("broke its contract: {0}")]
    Contract(String),
}

/// No plugin is bound where one is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no plugin is bound to `{path}` in VO {vo}{hint}; bind one with `spinor plugin bind {vo} {path} PLUGIN`"
)]
pub struct Unbound {
    /// The VO.
    pub vo: VoName,
    /// What is missing.
    pub path: BindingPath,
    /// What there is instead, or nothing.
    pub hint: String,
}

/// The policies in force: one consistent set at any moment, swapped as a whole.
pub trait Policies: Send + Sync {
    /// The VO's matching rule.
    fn rule(&self, vo: &VoName) -> Result<Arc<dyn MatchingRule>, Unbound>;

    /// The handler of a job type.
    fn handler(&self, vo: &VoName, job_type: &JobType) -> Result<Arc<dyn JobHandler>, Unbound>;

    /// The very handler, and settings, that planned a job, even if another is bound by now.
    fn handler_that_planned(
        &self,
        vo: &VoName,
        job_type: &JobType,
        planned_by: &Decider,
    ) -> Result<Arc<dyn JobHandler>, Unbound>;

    /// The backend of a CE.
    fn backend(&self, vo: &VoName, ce: &CeName) -> Result<Arc<dyn ComputingBackend>, Unbound>;

    /// The VO's accounting sinks.
    fn sinks(&self, vo: &VoName) -> Vec<(SinkName, Arc<dyn AccountingSink>)>;
}
