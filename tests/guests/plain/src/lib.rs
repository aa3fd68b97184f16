//! Short jobs first: a rule on the contract alone.
#![allow(missing_docs, unsafe_code)]

wit_bindgen::generate!({
    path: ["../../../wit/host", "../../../wit/matching"],
    world: "spinor:matching/rule-plugin",
    generate_all,
});

use exports::spinor::host::{plugin, settings};
use exports::spinor::matching::rule;
use spinor::{
    host::{log, types},
    matching::types::{Batch, ColumnValues, Fact, Offer},
};

struct ShortFirst;

impl plugin::Guest for ShortFirst {
    fn info() -> plugin::Card {
        plugin::Card {
            name: "matching/short-first".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "short jobs first".to_owned(),
            license: "Apache-2.0".to_owned(),
            capabilities: Vec::new(),
        }
    }
}

impl settings::Guest for ShortFirst {
    fn schema() -> String {
        r#"{"type": "object", "additionalProperties": false}"#.to_owned()
    }

    fn validate(_settings: String) -> Vec<types::Finding> {
        Vec::new()
    }
}

impl rule::Guest for ShortFirst {
    fn reads(_settings: String) -> Result<rule::Dependencies, types::Error> {
        Ok(rule::Dependencies {
            class_fields: vec!["wall-seconds".to_owned()],
            offer_attributes: Vec::new(),
            facts: Vec::new(),
        })
    }

    fn evaluate(
        _settings: String,
        offer: Offer,
        classes: Batch,
        _facts: Vec<Fact>,
    ) -> Result<rule::Verdicts, types::Error> {
        log::write(log::Level::Info, &format!("{} classes for {}", classes.rows, offer.site));
        let ColumnValues::Integers(seconds) = &classes.columns[0].values else {
            return Err(types::Error::Invalid("wall-seconds are no integers".to_owned()));
        };
        Ok(rule::Verdicts {
            scores: seconds.iter().map(|seconds| -seconds).collect(),
            rejections: vec![0; seconds.len()],
            reasons: Vec::new(),
        })
    }
}

export!(ShortFirst);
