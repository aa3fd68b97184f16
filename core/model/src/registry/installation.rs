//! What an installation gives to every VO: CEs and sinks that none can take away, and defaults.

use super::{BadDocument, Binding, Ce, Kind, Site, VoDocument, read};
use crate::{
    finding::Finding,
    id::{CeName, JobType, SinkName, SiteName},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Display};

/// What every VO of an installation has, as its operator writes it, in TOML.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Installation {
    /// Sites of every VO.
    pub sites: BTreeMap<SiteName, Site>,
    /// Computing elements of every VO.
    pub ces: BTreeMap<CeName, Ce>,
    /// Accounting sinks that get every VO's records.
    pub accounting: BTreeMap<SinkName, Binding>,
    /// The rule of VOs that bind none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matching: Option<Binding>,
    /// Handlers of job types for which a VO binds none.
    pub handling: BTreeMap<JobType, Binding>,
}

impl Installation {
    /// Reads a document.
    pub fn from_toml(text: &str) -> Result<Self, BadDocument> {
        read(text)
    }

    /// The document as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# not to be shown: {error}\n"))
    }
}

impl VoDocument {
    /// The document with what its VO inherits. What the installation gives cannot be replaced; its
    /// defaults can.
    pub fn inherit(&self, installation: &Installation) -> Result<Self, BadDocument> {
        let mut findings = Vec::new();
        taken("sites", &self.sites, &installation.sites, &mut findings);
        taken("ces", &self.ces, &installation.ces, &mut findings);
        taken(Kind::Accounting.as_str(), &self.accounting, &installation.accounting, &mut findings);
        if !findings.is_empty() {
            return Err(BadDocument(findings));
        }
        let mut whole = self.clone();
        whole.sites.extend(installation.sites.clone());
        whole.ces.extend(installation.ces.clone());
        whole.accounting.extend(installation.accounting.clone());
        whole.matching = whole.matching.or_else(|| installation.matching.clone());
        for (job_type, binding) in &installation.handling {
            whole.handling.entry(job_type.clone()).or_insert_with(|| binding.clone());
        }
        let findings = whole.findings();
        if findings.is_empty() { Ok(whole) } else { Err(BadDocument(findings)) }
    }
}

fn taken<K: Ord + Display, V>(
    field: &str,
    own: &BTreeMap<K, V>,
    given: &BTreeMap<K, V>,
    findings: &mut Vec<Finding>,
) {
    for name in own.keys().filter(|name| given.contains_key(name)) {
        findings.push(Finding {
            field: format!("{field}.{name}"),
            value: name.to_string(),
            message: "is the installation's, which a VO cannot replace: take another name"
                .to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTALLATION: &str = r#"
        [sites.SHARED]
        [ces.shared]
        site = "SHARED"
        backend = { plugin = "computing/local", grants.process.max = 1 }
        queues.all = { memory_mb = 1024, wall_time = 3600 }
        [accounting.books]
        plugin = "accounting/files"
        [matching]
        plugin = "matching/standard"
        [handling.executable]
        plugin = "handling/executable"
    "#;

    #[test]
    fn a_vo_inherits_all_of_it_and_replaces_defaults_alone() {
        let installation = Installation::from_toml(INSTALLATION).unwrap();
        assert_eq!(Installation::from_toml(&installation.to_toml()).unwrap(), installation);
        let bare = VoDocument::from_toml("vo = \"vo\"\n[groups.g]").unwrap();
        let whole = bare.inherit(&installation).unwrap();
        let paths: Vec<_> = whole.bindings().map(|(path, _)| path.to_string()).collect();
        assert_eq!(
            paths,
            ["matching", "computing.shared", "handling.executable", "accounting.books"]
        );
        let own = "vo = \"vo\"\n[groups.g]\n[matching]\nplugin = \"matching/own\"";
        let whole = VoDocument::from_toml(own).unwrap().inherit(&installation).unwrap();
        assert_eq!(whole.matching.unwrap().plugin, "matching/own");
        let own = "vo = \"vo\"\n[groups.g]\n[accounting.books]\nplugin = \"accounting/own\"";
        let refused = VoDocument::from_toml(own).unwrap().inherit(&installation).unwrap_err();
        assert_eq!(refused.0[0].field, "accounting.books");
        assert!(refused.to_string().contains("is the installation's"), "{refused}");
    }
}
