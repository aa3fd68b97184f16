//! What a VO decides for itself: the traits that plugins implement.
//!
//! The WASM host implements them over components; native twins serve tests and benchmarks. Pure
//! policies (matching, handling) are called synchronously, on a thread that may be kept busy;
//! effectful ones (computing, accounting) are async.

mod accounting;
mod comparison;
mod computing;
mod credentials;
mod effect;
mod handling;
mod matching;
mod observation;
mod supply;

pub use accounting::{AccountingSink, Delivery};
pub use comparison::{Differences, TypeDifferences};
pub use computing::{
    ComputingBackend, PilotRequest, PilotStatus, PilotStream, Placeholder, Room, Spool, SpoolFile,
    Submission,
};
pub use credentials::{CredentialSource, Proxy};
pub use effect::{Effect, Effectful, Exchange};
pub use handling::{
    AdmissionError, Admitted, Conclusion, EndedAttempt, JobHandler, ParameterColumn, Retry,
    Submitted,
};
pub use matching::{MatchingRule, RequirementClass, Verdict};
pub use observation::{
    Alarm, Answer, Concern, Decision, GuestLine, LogLevel, Observer, Question, Unobserved,
};
pub use supply::{Fact, QueueStanding, SupplyPolicy};

use crate::{
    id::{CeName, Digest, JobType, QueueName, SinkName, Stamp, VoName},
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

/// There is no policy to ask where one is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPolicy {
    /// No plugin is bound.
    #[error(
        "no plugin is bound to `{path}` in VO {vo}{hint}; bind one with `spinor plugin bind {vo} {path} PLUGIN`"
    )]
    Unbound {
        /// The VO.
        vo: VoName,
        /// What is missing.
        path: BindingPath,
        /// What there is instead, or nothing.
        hint: String,
    },
    /// It is switched off.
    #[error(
        "`{path}` of VO {vo} is switched off; `spinor plugin rollback {vo} {path}` or `bind` switches it on"
    )]
    Off {
        /// The VO.
        vo: VoName,
        /// Where.
        path: BindingPath,
    },
    /// It tripped, and nothing stands behind it.
    #[error(
        "{plugin} has tripped in `{path}` of VO {vo} ({reason}) and no earlier version stands behind it; it is tried again by itself, or bind another"
    )]
    Tripped {
        /// The VO.
        vo: VoName,
        /// Where.
        path: BindingPath,
        /// Plugin and version.
        plugin: String,
        /// Its last fault.
        reason: String,
    },
}

/// The policies in force: one consistent set at any moment, swapped as a whole. A canary decides for
/// a fixed share of pilots, submissions or queues: the same one is always answered by the same
/// version.
pub trait Policies: Send + Sync {
    /// The VO's matching rule, for a pilot or for nobody in particular.
    fn rule(&self, vo: &VoName, pilot: Option<&Stamp>) -> Result<Arc<dyn MatchingRule>, NoPolicy>;

    /// The handler of a job type for a submission, which is named by any text.
    fn handler(
        &self,
        vo: &VoName,
        job_type: &JobType,
        submission: &str,
    ) -> Result<Arc<dyn JobHandler>, NoPolicy>;

    /// The very handler, and settings, that planned a job, even if another is bound by now.
    fn handler_that_planned(
        &self,
        vo: &VoName,
        job_type: &JobType,
        planned_by: &Decider,
    ) -> Result<Arc<dyn JobHandler>, NoPolicy>;

    /// The backend that sends pilots to a queue of a CE.
    fn backend(
        &self,
        vo: &VoName,
        ce: &CeName,
        queue: &QueueName,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy>;

    /// The backend that can read what another one called its pilots: that very one if it is still
    /// there, else the one in force.
    fn backend_that_sent(
        &self,
        vo: &VoName,
        ce: &CeName,
        sent_by: Option<&Decider>,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy>;

    /// What steers the VO's pilots.
    fn supply(&self, vo: &VoName) -> Result<Arc<dyn SupplyPolicy>, NoPolicy>;

    /// The VO's accounting sinks.
    fn sinks(&self, vo: &VoName) -> Vec<(SinkName, Arc<dyn AccountingSink>)>;
}
