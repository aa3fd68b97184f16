use crate::decider;
use spinor_model::{
    offer::Offer,
    policy::{Decider, Fault, MatchingRule, PolicyError, RequirementClass, Verdict},
};
use std::sync::Arc;

/// Does what `matching/standard` does without settings: the tightest fit first.
pub struct TwinRule {
    /// Who it is.
    pub decider: Decider,
    /// Sites it keeps jobs from.
    pub avoid: Vec<String>,
    /// Whether it breaks instead.
    pub breaks: bool,
}

impl Default for TwinRule {
    fn default() -> Self {
        Self::version("0.1.0")
    }
}

impl TwinRule {
    /// A version of it.
    pub fn version(version: &str) -> Self {
        let decider = decider("matching/twin", version);
        Self { decider, avoid: Vec::new(), breaks: false }
    }

    fn verdict(&self, offer: &Offer, class: &RequirementClass) -> Verdict {
        if self.avoid.iter().any(|site| site == offer.site.as_str()) {
            return Verdict::Reject(format!("avoids {}", offer.site).into());
        }
        let cores = class.requirement.cpu.num_cores.max().min(offer.cores);
        let idle_cores = i64::from(offer.cores) - i64::from(cores);
        let idle_memory = offer.memory_mb.saturating_sub(class.requirement.cpu.ram_mb.request);
        Verdict::Accept(-(idle_cores * 1024 + idle_memory as i64 / 1024))
    }
}

impl MatchingRule for TwinRule {
    fn decider(&self) -> &Decider {
        &self.decider
    }

    fn evaluate(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        if self.breaks {
            let fault = Fault::Trap("on purpose".to_owned());
            return Err(PolicyError::Fault { plugin: self.decider.to_string(), fault });
        }
        Ok(classes.iter().map(|class| self.verdict(offer, class)).collect())
    }
}
