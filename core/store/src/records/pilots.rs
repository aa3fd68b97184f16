//! Pilots.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{CeName, Digest, NodeName, QueueName, SiteName, Stamp, VoName},
    policy::Decider,
    state::PilotState,
    time::Timestamp,
};

/// A pilot on its way.
#[derive(Debug, Clone, Serialize)]
pub struct NewPilot {
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
    /// Cores it is to have.
    pub cores: u32,
    /// Seconds it may live.
    pub wall_time: u64,
    /// SHA-256 of its secret.
    pub secret_hash: Digest,
    /// The backend that sends it.
    pub sent_by: Decider,
}

/// A pilot as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PilotRecord {
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
    /// Cores it was asked for.
    pub cores: u32,
    /// Where it is in its life.
    pub status: PilotState,
    /// More on that.
    pub status_reason: String,
    /// Since when its CE says nothing of it that is understood; the words are in `status_reason`.
    pub unknown_since: Option<Timestamp>,
    /// What its CE calls it.
    pub reference: Option<String>,
    /// The backend that sent it.
    pub sent_by: Option<Decider>,
    /// Seconds it may live.
    pub wall_time: u64,
    /// When it was sent.
    pub submitted: Timestamp,
    /// When it first called.
    pub started: Option<Timestamp>,
    /// When it last called.
    pub last_seen: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Jobs it has claimed.
    pub jobs_run: u32,
    /// The machine that it is on, as that calls itself.
    pub node: Option<NodeName>,
}

/// What became of a pilot's start.
#[derive(Debug, Clone, PartialEq)]
pub enum PilotStart {
    /// It may work.
    Started(Box<PilotRecord>),
    /// Wrong stamp or secret.
    WrongSecret,
    /// The secret was used by another.
    UsedSecret,
    /// Its life is over.
    Ended(PilotState),
}
