//! Supply policies over WASM.

use super::{Bond, columns::wit_offer};
use crate::{
    bindings::supply::{
        SupplyPre,
        exports::spinor::matching::supply::{Fact as WitFact, Queue},
    },
    call,
    state::HostState,
};
use spinor_model::policy::{Decider, Fact, PolicyError, QueueStanding, SupplyPolicy};
use wasmtime::component::InstancePre;

/// A supply policy behind the trait.
pub struct Supply {
    bond: Bond,
    pre: SupplyPre<HostState>,
}

impl Supply {
    /// Checks that the hook is there.
    pub fn new(bond: Bond, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(Self { bond, pre: SupplyPre::new(pre)? })
    }

    fn ask(&self, queues: &[QueueStanding], facts: &[Fact]) -> Result<Vec<f64>, PolicyError> {
        let Bond { engine, caller, limits, settings, permits, .. } = &self.bond;
        let queues: Vec<Queue> = queues.iter().map(wit_queue).collect();
        let facts: Vec<WitFact> = facts.iter().map(wit_fact).collect();
        let _permit = permits.take();
        let answer = call::pure(engine, caller, limits, "prefer", |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            instance.spinor_matching_supply().call_prefer(store, settings, &queues, &facts)
        })?;
        let weights = answer.map_err(|error| self.bond.answer(error))?;
        let weights = self.bond.same_length(weights, queues.len())?;
        match weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            Some(bad) => Err(self.bond.broken(format!("{bad} is no weight"))),
            None => Ok(weights),
        }
    }
}

impl SupplyPolicy for Supply {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    fn prefer(&self, queues: &[QueueStanding], facts: &[Fact]) -> Result<Vec<f64>, PolicyError> {
        let answer = self.ask(queues, facts);
        self.bond.noted(0, answer)
    }
}

fn wit_queue(queue: &QueueStanding) -> Queue {
    let attributes: Vec<String> = queue.offer.attributes.keys().cloned().collect();
    Queue {
        offer: wit_offer(&queue.offer, &attributes),
        demand_cores: queue.demand_cores,
        pilots_waiting: queue.waiting,
        pilots_running: queue.running,
        empty_pilots: queue.empty,
    }
}

fn wit_fact(fact: &Fact) -> WitFact {
    WitFact { name: fact.name.clone(), subject: fact.subject.clone(), value: fact.value }
}
