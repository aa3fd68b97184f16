//! Matching rules over WASM: classes go in by columns, verdicts come out by columns.

use super::Bond;
use crate::{
    bindings::rule::{
        RulePre,
        exports::spinor::matching::rule as wit,
        exports::spinor::matching::rule::{Batch, Offer as WitOffer},
        spinor::matching::types::{Column, ColumnValues, TextLists},
    },
    call,
    load::{LoadError, short},
    state::HostState,
};
use spinor_model::{
    offer::Offer,
    policy::{Decider, MatchingRule, PolicyError, RequirementClass, Verdict},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use wasmtime::component::InstancePre;

/// A rule behind the trait.
pub struct Rule {
    bond: Bond,
    pre: RulePre<HostState>,
    reads: wit::Dependencies,
    calls: AtomicU64,
}

/// One call in so many, the first among them, is asked again in another order.
const SAMPLE: u64 = 64;

impl Rule {
    /// Asks the rule what it reads.
    pub fn new(bond: Bond, pre: InstancePre<HostState>) -> Result<Self, LoadError> {
        let pre = RulePre::new(pre).map_err(|error| LoadError::Trial(short(&error)))?;
        let reads = call::pure(&bond.engine, &bond.caller, &bond.limits, "reads", |store| {
            let instance = pre.instantiate(&mut *store)?;
            instance.spinor_matching_rule().call_reads(store, &bond.settings)
        })?;
        let reads = reads.map_err(|error| bond.answer(error))?;
        Ok(Self { bond, pre, reads, calls: AtomicU64::new(0) })
    }

    fn verdicts(&self, answer: wit::Verdicts, rows: usize) -> Result<Vec<Verdict>, PolicyError> {
        let wit::Verdicts { scores, rejections, reasons } = answer;
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
}

impl Rule {
    /// One call of the guest.
    fn ask(
        &self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Result<Vec<Verdict>, PolicyError> {
        let offer = wit_offer(offer, &self.reads.offer_attributes);
        let batch = batch(&self.reads.class_fields, classes);
        let Bond { engine, caller, limits, settings, permits, .. } = &self.bond;
        let _permit = permits.take();
        let answer = call::pure(engine, caller, limits, "evaluate", |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            instance.spinor_matching_rule().call_evaluate(store, settings, &offer, &batch, &[])
        })?;
        self.verdicts(answer.map_err(|error| self.bond.answer(error))?, classes.len())
    }
}

fn wit_offer(offer: &Offer, reads: &[String]) -> WitOffer {
    let attribute = |name: &String| Some((name.clone(), offer.attributes.get(name)?.clone()));
    WitOffer {
        site: offer.site.to_string(),
        ce: offer.ce.to_string(),
        queue: offer.queue.to_string(),
        cores: offer.cores,
        memory_mib: offer.memory_mb,
        gpus: offer.gpus,
        wall_seconds: offer.wall_time,
        architecture: offer.architecture.clone(),
        tags: offer.tags.iter().cloned().collect(),
        attributes: reads.iter().filter_map(attribute).collect(),
    }
}

/// Each distinct string once.
#[derive(Default)]
struct Dictionary {
    ids: HashMap<String, u32>,
    strings: Vec<String>,
}

impl Dictionary {
    fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        self.ids.insert(text.to_owned(), id);
        self.strings.push(text.to_owned());
        id
    }
}

fn batch(fields: &[String], classes: &[Arc<RequirementClass>]) -> Batch {
    let mut dictionary = Dictionary::default();
    let columns = fields
        .iter()
        .map(|name| Column { name: name.clone(), values: column(name, classes, &mut dictionary) })
        .collect();
    let rows = u32::try_from(classes.len()).unwrap_or(u32::MAX);
    Batch { rows, dictionary: dictionary.strings, columns }
}

/// A column by its field's name; a name that this server does not know is a column of nothing.
fn column(
    name: &str,
    classes: &[Arc<RequirementClass>],
    dictionary: &mut Dictionary,
) -> ColumnValues {
    let integers = |field: &dyn Fn(&RequirementClass) -> u64| {
        let value = |class: &Arc<RequirementClass>| i64::try_from(field(class)).unwrap_or(i64::MAX);
        ColumnValues::Integers(classes.iter().map(value).collect())
    };
    let mut texts = |field: &dyn for<'c> Fn(&'c RequirementClass) -> &'c str| {
        ColumnValues::Texts(classes.iter().map(|class| dictionary.id(field(class))).collect())
    };
    match name {
        "group" => texts(&|c| c.group.as_str()),
        "job-type" => texts(&|c| c.job_type.as_str()),
        "cores-min" => integers(&|c| c.requirement.cpu.num_cores.min.into()),
        "cores-max" => integers(&|c| c.requirement.cpu.num_cores.max().into()),
        "memory-mib" => integers(&|c| c.requirement.cpu.ram_mb.request),
        "wall-seconds" => integers(&|c| c.requirement.wall_time),
        "gpus" => integers(&|c| c.requirement.gpu.as_ref().map_or(0, |gpu| gpu.count.into())),
        "scratch-mib" => integers(&|c| c.requirement.io.scratch_mb),
        "architecture" => texts(&|c| c.requirement.cpu.architecture.as_deref().unwrap_or_default()),
        "tags" => {
            let tags = |c: &Arc<RequirementClass>| {
                let text = c.requirement.tags.as_ref().map(ToString::to_string);
                dictionary.id(&text.unwrap_or_default())
            };
            ColumnValues::Texts(classes.iter().map(tags).collect())
        }
        "sites" => lists(classes, dictionary, |c| {
            c.requirement.sites.iter().map(ToString::to_string).collect()
        }),
        "banned-sites" => lists(classes, dictionary, |c| {
            c.requirement.banned_sites.iter().map(ToString::to_string).collect()
        }),
        other => {
            let attribute = other.strip_prefix("attribute:").unwrap_or(other);
            texts(&|c| c.requirement.attributes.get(attribute).map_or("", String::as_str))
        }
    }
}

fn lists(
    classes: &[Arc<RequirementClass>],
    dictionary: &mut Dictionary,
    field: impl Fn(&RequirementClass) -> Vec<String>,
) -> ColumnValues {
    let mut offsets = vec![0];
    let mut items = Vec::new();
    for class in classes {
        items.extend(field(class).iter().map(|text| dictionary.id(text)));
        offsets.push(u32::try_from(items.len()).unwrap_or(u32::MAX));
    }
    ColumnValues::TextLists(TextLists { offsets, items })
}
