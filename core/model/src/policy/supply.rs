use super::{Decider, PolicyError};
use crate::offer::Offer;
use serde::{Deserialize, Serialize};

/// A queue, and how pilots fare there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueStanding {
    /// What a pilot there offers.
    pub offer: Offer,
    /// Cores that waiting jobs ask for which could run there.
    #[serde(default)]
    pub demand_cores: u64,
    /// Pilots on their way.
    #[serde(default)]
    pub waiting: u32,
    /// Pilots that have called and not ended.
    #[serde(default)]
    pub running: u32,
    /// Pilots of the last hour that ended without a job.
    #[serde(default)]
    pub empty: u32,
}

/// A varying quantity that a VO's people, or their programs, tell the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Its name, e.g. `carbon-intensity`.
    pub name: String,
    /// What it is about, e.g. a site.
    pub subject: String,
    /// It.
    pub value: f64,
}

/// Where pilots go, of all queues that could have them.
pub trait SupplyPolicy: Send + Sync {
    /// Who decides.
    fn decider(&self) -> &Decider;

    /// A weight for each queue, in order: how many it gets, in proportion; 0 sends none there.
    fn prefer(&self, queues: &[QueueStanding], facts: &[Fact]) -> Result<Vec<f64>, PolicyError>;
}
