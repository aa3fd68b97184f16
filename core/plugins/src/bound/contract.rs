//! Versions of the contract of matching rules. A component is asked in the version that it exports; the
//! rest of the server knows one shape.

use super::columns::{batch, wit_offer};
use crate::{
    bindings::{host::spinor::host::types, rule::RulePre},
    inspect::RULES,
    load::{LoadError, short},
    state::HostState,
};
use spinor_model::{offer::Offer, policy::RequirementClass};
use std::{collections::BTreeSet, sync::Arc};
use wasmtime::{Store, component::InstancePre};

/// What a rule reads.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    /// Class fields.
    pub class_fields: Vec<String>,
    /// Offer attributes.
    pub offer_attributes: Vec<String>,
}

/// What a rule answers, one row a class.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Where the class is accepted.
    pub scores: Vec<i64>,
    /// 0 accepts; `n` rejects for `reasons[n - 1]`.
    pub rejections: Vec<u32>,
    /// Each distinct reason once.
    pub reasons: Vec<String>,
}

/// A guest's answer, or its own error; or it broke.
pub type Answered<T> = wasmtime::Result<Result<T, types::Error>>;

/// A version of the contract.
pub trait Contract: Send + Sync {
    /// Asks what the rule reads.
    fn reads(&self, store: &mut Store<HostState>, settings: &str) -> Answered<Reads>;

    /// Asks for verdicts.
    fn evaluate(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
        reads: &Reads,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Answered<Columns>;
}

/// The version that a component exports.
pub fn contract(
    exports: &BTreeSet<String>,
    pre: InstancePre<HostState>,
) -> Result<Box<dyn Contract>, LoadError> {
    let trial = |error: wasmtime::Error| LoadError::Trial(short(&error));
    #[cfg(test)]
    if exports.iter().any(|name| name.starts_with(RULES[1])) {
        return Ok(Box::new(super::next::V02::new(pre).map_err(trial)?));
    }
    debug_assert!(exports.iter().any(|name| name.starts_with(RULES[0])));
    Ok(Box::new(V01(RulePre::new(pre).map_err(trial)?)))
}

/// `spinor:matching` 0.1.
struct V01(RulePre<HostState>);

impl Contract for V01 {
    fn reads(&self, store: &mut Store<HostState>, settings: &str) -> Answered<Reads> {
        let instance = self.0.instantiate(&mut *store)?;
        let reads = instance.spinor_matching_rule().call_reads(store, settings)?;
        Ok(reads.map(|reads| Reads {
            class_fields: reads.class_fields,
            offer_attributes: reads.offer_attributes,
        }))
    }

    fn evaluate(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
        reads: &Reads,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Answered<Columns> {
        let offer = wit_offer(offer, &reads.offer_attributes);
        let batch = batch(&reads.class_fields, classes);
        let instance = self.0.instantiate(&mut *store)?;
        let rule = instance.spinor_matching_rule();
        let answer = rule.call_evaluate(store, settings, &offer, &batch, &[])?;
        Ok(answer.map(|v| Columns {
            scores: v.scores,
            rejections: v.rejections,
            reasons: v.reasons,
        }))
    }
}
