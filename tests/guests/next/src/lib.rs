//! Short jobs first, on the contract 0.2 that only tests have.
#![allow(missing_docs, unsafe_code)]

wit_bindgen::generate!({
    path: ["../../../wit/host", "../../wit-next/matching"],
    world: "spinor:matching/rule-plugin",
    generate_all,
});

use exports::spinor::host::{plugin, settings};
use exports::spinor::matching::rule;
use spinor::{
    host::types,
    matching::types::{Class, Offer, Verdict},
};

struct Next;

impl plugin::Guest for Next {
    fn info() -> plugin::Card {
        plugin::Card {
            name: "matching/short-first".to_owned(),
            version: "2.0.0".to_owned(),
            summary: "short jobs first".to_owned(),
            license: "Apache-2.0".to_owned(),
            capabilities: Vec::new(),
        }
    }
}

impl settings::Guest for Next {
    fn schema() -> String {
        r#"{"type": "object", "additionalProperties": false}"#.to_owned()
    }

    fn validate(_settings: String) -> Vec<types::Finding> {
        Vec::new()
    }
}

impl rule::Guest for Next {
    fn evaluate(
        _settings: String,
        offer: Offer,
        classes: Vec<Class>,
    ) -> Result<Vec<Verdict>, types::Error> {
        let verdict = |class: Class| match class.job_type.as_str() {
            "never" => Verdict::Reject(format!("never at {}", offer.site)),
            _ => Verdict::Accept(-(class.wall_seconds as i64)),
        };
        Ok(classes.into_iter().map(verdict).collect())
    }
}

export!(Next);
