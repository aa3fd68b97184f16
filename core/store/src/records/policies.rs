//! What is kept of policies: decisions, lines, and who did what to them.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{CeName, ClassId, Digest, JobType, SiteName, VoName},
    policy::{Decider, Decision, GuestLine, LogLevel},
    time::Timestamp,
};

/// What was observed and is to be kept, together.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Decisions, each with the key that makes it the same question.
    pub decisions: Vec<(Digest, Decision)>,
    /// Lines that guests wrote.
    pub lines: Vec<GuestLine>,
}

/// A line that a guest wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRecord {
    /// Its place in the log.
    pub id: i64,
    /// For whom.
    pub vo: VoName,
    /// Plugin and version.
    pub plugin: String,
    /// How much it matters.
    pub level: LogLevel,
    /// It.
    pub message: String,
    /// When.
    pub time: Timestamp,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// Who: a person, or `spinor` when it acted by itself.
    pub who: String,
    /// In which VO; empty for the installation.
    pub vo: String,
    /// In which place; empty if in none.
    pub path: String,
    /// What: `push`, `bind`, `rollout`, `promote`, `rollback`, `trip`, ….
    pub action: String,
    /// Plugin, version and the beginning of its digest; empty if none.
    pub plugin: String,
    /// In words.
    pub detail: String,
}

/// Jobs of a class that were sent to a place of late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The class.
    pub class: ClassId,
    /// Where.
    pub site: SiteName,
    /// Where.
    pub ce: CeName,
    /// How many attempts.
    pub attempts: u64,
}

/// Who must still end what it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// It planned jobs that have not ended.
    Jobs {
        /// For whom.
        vo: VoName,
        /// Of which type.
        job_type: JobType,
        /// Who.
        decider: Decider,
        /// How many.
        count: u64,
    },
    /// It sent pilots that have not ended.
    Pilots {
        /// For whom.
        vo: VoName,
        /// Where.
        ce: CeName,
        /// Who.
        decider: Decider,
        /// How many.
        count: u64,
    },
}
