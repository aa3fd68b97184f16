//! What a pilot's slot offers.

use crate::{
    id::{CeName, QueueName, SiteName},
    requirement::{MEMORY_STEP, WALL_SEGMENTS},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a slot is and what it has free, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// The site.
    pub site: SiteName,
    /// The computing element.
    pub ce: CeName,
    /// The CE's queue.
    pub queue: QueueName,
    /// Free cores.
    pub cores: u32,
    /// Free memory in MiB.
    pub memory_mb: u64,
    /// Free GPUs.
    #[serde(default)]
    pub gpus: u32,
    /// Free scratch space in MiB.
    #[serde(default)]
    pub scratch_mb: u64,
    /// Wall time left, in seconds.
    pub wall_time: u64,
    /// What its cores can do, in HS06 each.
    #[serde(default = "default_power")]
    pub power: u32,
    /// As `uname -m` says.
    pub architecture: String,
    /// What the slot is known for.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Whatever else a rule may look at.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// A usual core of today, in HS06.
pub fn default_power() -> u32 {
    10
}

impl Offer {
    /// The class it belongs to: memory, disk and time rounded down, so that many slots share it.
    pub fn class(&self) -> Offer {
        let wall_time =
            WALL_SEGMENTS.iter().copied().rev().find(|s| *s <= self.wall_time).unwrap_or(0);
        Offer {
            memory_mb: self.memory_mb / MEMORY_STEP * MEMORY_STEP,
            scratch_mb: self.scratch_mb / 1024 * 1024,
            wall_time,
            ..self.clone()
        }
    }
}
