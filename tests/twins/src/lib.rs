//! Native twins of the policies, for tests and benchmarks: the lifecycle needs no WebAssembly.

mod backend;
mod handler;
mod rule;
mod sink;
mod spool;
mod supply;

pub use backend::TwinBackend;
pub use handler::TwinHandler;
pub use rule::TwinRule;
pub use sink::TwinSink;
pub use spool::TwinSpool;
pub use supply::TwinSupply;

use spinor_model::{
    Version,
    id::{CeName, Digest, JobType, QueueName, SinkName, Stamp, VoName},
    policy::{
        AccountingSink, ComputingBackend, Decider, JobHandler, MatchingRule, NoPolicy, Policies,
        SupplyPolicy,
    },
    registry::BindingPath,
};
use std::sync::{Arc, Mutex, PoisonError};

/// A twin's name card.
pub fn decider(plugin: &str, version: &str) -> Decider {
    let digest = Digest::of(format!("{plugin} {version}").as_bytes());
    let version = version.parse().unwrap_or(Version::new(0, 0, 0));
    Decider { plugin: plugin.to_owned(), version, digest, settings: digest }
}

/// One set of twins for every VO. Each can be taken away.
#[derive(Default)]
pub struct Twins {
    /// The rule.
    pub rule: Mutex<Option<Arc<TwinRule>>>,
    /// The handler of every job type.
    pub handler: Arc<TwinHandler>,
    /// The backend of every CE.
    pub backend: Arc<TwinBackend>,
    /// What steers pilots, if anything does.
    pub supply: Mutex<Option<Arc<TwinSupply>>>,
    /// The sink.
    pub sink: Arc<TwinSink>,
}

impl Twins {
    /// All in their places.
    pub fn new() -> Arc<Self> {
        let twins = Self::default();
        twins.set_rule(Some(TwinRule::default()));
        Arc::new(twins)
    }

    /// Puts a rule in its place, or takes it away.
    pub fn set_rule(&self, rule: Option<TwinRule>) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = rule.map(Arc::new);
    }
}

fn unbound(vo: &VoName, path: BindingPath) -> NoPolicy {
    NoPolicy::Unbound { vo: vo.clone(), path, hint: String::new() }
}

impl Policies for Twins {
    fn rule(&self, vo: &VoName, _: Option<&Stamp>) -> Result<Arc<dyn MatchingRule>, NoPolicy> {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner).clone();
        rule.map(|rule| rule as Arc<dyn MatchingRule>)
            .ok_or_else(|| unbound(vo, BindingPath::Matching))
    }

    fn handler(&self, _: &VoName, _: &JobType, _: &str) -> Result<Arc<dyn JobHandler>, NoPolicy> {
        Ok(self.handler.clone())
    }

    fn handler_that_planned(
        &self,
        _: &VoName,
        _: &JobType,
        _: &Decider,
    ) -> Result<Arc<dyn JobHandler>, NoPolicy> {
        Ok(self.handler.clone())
    }

    fn backend(
        &self,
        _: &VoName,
        _: &CeName,
        _: &QueueName,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy> {
        Ok(self.backend.clone())
    }

    fn backend_that_sent(
        &self,
        _: &VoName,
        _: &CeName,
        _: Option<&Decider>,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy> {
        Ok(self.backend.clone())
    }

    fn supply(&self, vo: &VoName) -> Result<Arc<dyn SupplyPolicy>, NoPolicy> {
        let supply = self.supply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        supply
            .map(|supply| supply as Arc<dyn SupplyPolicy>)
            .ok_or_else(|| unbound(vo, BindingPath::Supply))
    }

    fn sinks(&self, _: &VoName) -> Vec<(SinkName, Arc<dyn AccountingSink>)> {
        let name = "twin".parse().ok();
        name.map(|name| (name, self.sink.clone() as Arc<dyn AccountingSink>)).into_iter().collect()
    }
}
