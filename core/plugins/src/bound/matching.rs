//! Matching rules over WASM: classes go in by columns, verdicts come out by columns.

use super::{
    Bond,
    contract::{Columns, Contract, Reads},
};
use crate::{call, load::LoadError};
use spinor_model::{
    id::ClassId,
    offer::Offer,
    policy::{Answer, Decider, MatchingRule, PolicyError, Question, RequirementClass, Verdict},
    time::micros,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// A rule behind the trait.
pub struct Rule {
    pub(super) bond: Bond,
    contract: Box<dyn Contract>,
    reads: Reads,
    calls: AtomicU64,
    /// How often a class alone broke it.
    pub(super) suspects: Mutex<HashMap<ClassId, u32>>,
}

/// One call in so many, the first among them, is asked again in another order.
const SAMPLE: u64 = 64;

/// Classes in one recorded decision.
const RECORDED: usize = 1_000;

impl Rule {
    /// Asks the rule what it reads.
    pub fn new(bond: Bond, contract: Box<dyn Contract>) -> Result<Self, LoadError> {
        let reads = call::pure(&bond.engine, &bond.caller, &bond.limits, "reads", |store| {
            contract.reads(store, &bond.settings)
        })?;
        let reads = reads.map_err(|error| bond.answer(error))?;
        Ok(Self { bond, contract, reads, calls: AtomicU64::new(0), suspects: Mutex::default() })
    }

    fn verdicts(&self, answer: Columns, rows: usize) -> Result<Vec<Verdict>, PolicyError> {
        let Columns { scores, rejections, reasons } = answer;
        let scores = self.bond.same_length(scores, rows)?;
        let rejections = self.bond.same_length(rejections, rows)?;
        let reasons: Vec<Arc<str>> = reasons.into_iter().map(Into::into).collect();
        let verdict = |(score, rejection): (i64, u32)| match rejection {
            0 => Ok(Verdict::Accept(score)),
            n => match reasons.get(n as usize - 1) {
                Some(reason) => Ok(Verdict::Reject(reason.clone())),
                None => Err(self.bond.broken(format!("rejection {n} has no reason"))),
            },
        };
        scores.into_iter().zip(rejections).map(verdict).collect()
    }
}

impl MatchingRule for Rule {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    fn evaluate(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        if classes.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let verdicts = match self.ask_sampled(offer, classes) {
            Err(PolicyError::Fault { plugin, fault }) => {
                self.isolate(offer, classes, PolicyError::Fault { plugin, fault })?
            }
            other => self.bond.noted(0, other)?,
        };
        let cost = micros(started);
        for (classes, verdicts) in classes.chunks(RECORDED).zip(verdicts.chunks(RECORDED)) {
            let ids = classes.iter().map(|class| class.id).collect();
            let question = Question::Verdicts { offer: offer.clone(), classes: ids };
            self.bond.decided(question, Answer::Verdicts(verdicts.to_vec()), cost);
        }
        Ok(verdicts)
    }
}

impl Rule {
    /// Asks, and now and then asks again in another order.
    fn ask_sampled(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        let verdicts = self.ask(offer, classes)?;
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE) {
            let reversed: Vec<_> = classes.iter().rev().cloned().collect();
            let again = self.ask(offer, &reversed)?;
            if !again.iter().rev().eq(&verdicts) {
                let what = "impure: asked again in another order, it gave other verdicts";
                return Err(self.bond.broken(what.to_owned()));
            }
        }
        Ok(verdicts)
    }

    /// One call of the guest.
    pub(super) fn ask(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        let Bond { engine, caller, limits, settings, permits, .. } = &self.bond;
        let _permit = permits.take();
        let answer = call::pure(engine, caller, limits, "evaluate", |store| {
            self.contract.evaluate(store, settings, &self.reads, offer, classes)
        })?;
        self.verdicts(answer.map_err(|error| self.bond.answer(error))?, classes.len())
    }
}
