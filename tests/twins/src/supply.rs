//! A supply policy's twin.

use crate::decider;
use spinor_model::policy::{Decider, Fact, PolicyError, QueueStanding, SupplyPolicy};

/// Weighs a queue by the fact `weight` of its CE; 1 without one.
pub struct TwinSupply {
    decider: Decider,
}

impl Default for TwinSupply {
    fn default() -> Self {
        Self { decider: decider("matching/twin-supply", "1.0.0") }
    }
}

impl SupplyPolicy for TwinSupply {
    fn decider(&self) -> &Decider {
        &self.decider
    }

    fn prefer(&self, queues: &[QueueStanding], facts: &[Fact]) -> Result<Vec<f64>, PolicyError> {
        let weight = |queue: &QueueStanding| {
            let told =
                |fact: &&Fact| fact.name == "weight" && fact.subject == queue.offer.ce.as_str();
            facts.iter().find(told).map_or(1.0, |fact| fact.value)
        };
        Ok(queues.iter().map(weight).collect())
    }
}
