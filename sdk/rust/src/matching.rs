//! Matching rules.

use crate::{Error, Plugin};
use std::{collections::BTreeMap, marker::PhantomData};

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-matching; world matching-hook {
            export spinor:matching/rule@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/matching"],
        pub_export_macro: true,
        export_macro_name: "export_matching",
        default_bindings_module: "spinor_sdk::matching::bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

use bindings::exports::spinor::matching::rule as wit;
pub use bindings::spinor::matching::types::Offer;
use bindings::spinor::matching::types::{Batch, ColumnValues, Fact};

/// Which of a VO's jobs go where. Pure: nothing but the arguments may matter.
pub trait Rule: Plugin {
    /// What the rule looks at; the server passes nothing else.
    fn reads(settings: &Self::Settings) -> Reads;

    /// Whether jobs of a class may go to a slot.
    fn verdict(settings: &Self::Settings, offer: &Offer, class: &Class<'_>) -> Verdict;
}

/// What a rule looks at.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    /// Class fields, as the contract lists them.
    pub class_fields: Vec<&'static str>,
    /// Offer attributes.
    pub offer_attributes: Vec<String>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may; higher scores go first.
    Accept(i64),
    /// It may not, for this reason.
    Reject(String),
}

impl Verdict {
    /// A rejection.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }
}

/// One requirement class: a row of the batch, read by field.
#[derive(Debug, Clone, Copy)]
pub struct Class<'a> {
    batch: &'a Batch,
    row: usize,
}

impl<'a> Class<'a> {
    /// Row `row` of `batch`.
    pub fn new(batch: &'a Batch, row: usize) -> Self {
        Self { batch, row }
    }

    fn values(&self, field: &str) -> Option<&'a ColumnValues> {
        self.batch.columns.iter().find(|c| c.name == field).map(|c| &c.values)
    }

    fn text_at(&self, id: u32) -> Option<&'a str> {
        self.batch.dictionary.get(id as usize).map(String::as_str)
    }

    /// A field that is a number; 0 if it was not asked for.
    pub fn integer(&self, field: &str) -> i64 {
        match self.values(field) {
            Some(ColumnValues::Integers(values)) => values.get(self.row).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// A field that is a text; empty if it was not asked for.
    pub fn text(&self, field: &str) -> &'a str {
        match self.values(field) {
            Some(ColumnValues::Texts(ids)) => {
                ids.get(self.row).and_then(|id| self.text_at(*id)).unwrap_or_default()
            }
            _ => "",
        }
    }

    /// A field that is a list; empty if it was not asked for.
    pub fn list(&self, field: &str) -> Vec<&'a str> {
        let Some(ColumnValues::TextLists(lists)) = self.values(field) else { return Vec::new() };
        let at = |row: usize| lists.offsets.get(row).map(|offset| *offset as usize);
        let (Some(from), Some(to)) = (at(self.row), at(self.row + 1)) else { return Vec::new() };
        let items = lists.items.get(from..to).unwrap_or_default();
        items.iter().filter_map(|id| self.text_at(*id)).collect()
    }
}

/// Puts a [`Rule`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Rule> wit::Guest for Adapter<P> {
    fn reads(settings: String) -> Result<wit::Dependencies, Error> {
        let reads = P::reads(&crate::parse::<P>(&settings)?);
        Ok(wit::Dependencies {
            class_fields: reads.class_fields.into_iter().map(str::to_owned).collect(),
            offer_attributes: reads.offer_attributes,
            facts: Vec::new(),
        })
    }

    fn evaluate(
        settings: String,
        offer: Offer,
        classes: Batch,
        _facts: Vec<Fact>,
    ) -> Result<wit::Verdicts, Error> {
        let settings = crate::parse::<P>(&settings)?;
        let rows = classes.rows as usize;
        let verdicts =
            (0..rows).map(|row| P::verdict(&settings, &offer, &Class::new(&classes, row)));
        Ok(columns(verdicts, rows))
    }
}

fn columns(verdicts: impl Iterator<Item = Verdict>, rows: usize) -> wit::Verdicts {
    let mut scores = Vec::with_capacity(rows);
    let mut rejections = Vec::with_capacity(rows);
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Accept(score) => {
                scores.push(score);
                rejections.push(0);
            }
            Verdict::Reject(reason) => {
                let next = reasons.len() as u32 + 1;
                scores.push(0);
                rejections.push(*reasons.entry(reason).or_insert(next));
            }
        }
    }
    let mut by_number: Vec<_> = reasons.into_iter().collect();
    by_number.sort_by_key(|(_, number)| *number);
    let reasons = by_number.into_iter().map(|(reason, _)| reason).collect();
    wit::Verdicts { scores, rejections, reasons }
}

/// Exports a [`Rule`] as the component of this crate.
#[macro_export]
macro_rules! export_rule {
    ($rule:ty) => {
        $crate::export_plugin!($rule, matching, export_matching);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_travels_once() {
        let verdicts = ["a", "b", "a"].map(Verdict::reject);
        let columns = columns([Verdict::Accept(7)].into_iter().chain(verdicts), 4);
        assert_eq!(columns.scores, [7, 0, 0, 0]);
        assert_eq!(columns.rejections, [0, 1, 2, 1]);
        assert_eq!(columns.reasons, ["a", "b"]);
    }
}
