//! A plugin version: a component that has been looked into, compiled and tried.

use semver::Version;
use serde::Serialize;
use spinor_model::{
    finding::Finding,
    id::{Digest, VoName},
    registry::Kind,
};
use std::{collections::BTreeSet, sync::Arc};
use wasmtime::component::Component;

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// `kind/name`.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// One line for people.
    pub summary: String,
    /// SPDX licence expression.
    pub license: String,
}

/// A component that has been looked into, compiled and tried.
pub struct PluginVersion {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: usize,
    /// Its kind.
    pub kind: Kind,
    /// Who it is.
    pub card: Card,
    /// Capabilities it imports, `log` aside.
    pub capabilities: BTreeSet<&'static str>,
    /// Everything it imports.
    pub imports: BTreeSet<String>,
    /// Everything it exports.
    pub exports: BTreeSet<String>,
    /// JSON Schema of its settings.
    pub schema: serde_json::Value,
    pub(crate) validator: jsonschema::Validator,
    pub(crate) component: Component,
}

impl PluginVersion {
    /// `kind/name version`.
    pub fn title(&self) -> String {
        format!("{} {}", self.card.name, self.card.version)
    }

    /// Whether it is of this plugin and within a range.
    pub fn suits(&self, name: &str, range: &semver::VersionReq) -> bool {
        self.card.name == name && range.matches(&self.card.version)
    }

    /// What the schema has against these settings; fields are JSON pointers below `base`.
    pub fn check_settings(&self, base: &str, settings: &serde_json::Value) -> Vec<Finding> {
        let finding = |error: jsonschema::ValidationError<'_>| Finding {
            field: format!("{base}{}", error.instance_path()),
            value: error.instance().to_string().chars().take(200).collect(),
            message: error.to_string(),
        };
        self.validator.iter_errors(settings).map(finding).collect()
    }
}

impl std::fmt::Debug for PluginVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.title(), self.digest.short())
    }
}

/// A version and whose it is.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The version.
    pub version: Arc<PluginVersion>,
    /// Who brought it: the installation (none) or VOs. Each VO sees the installation's and its own.
    pub owners: BTreeSet<Option<VoName>>,
    /// Public keys, in hexadecimal, whose signatures over its digest were checked.
    pub signers: BTreeSet<String>,
    /// Where it came from.
    pub source: String,
}

impl Entry {
    /// Whether a VO may bind it.
    pub fn visible(&self, vo: Option<&VoName>) -> bool {
        self.owners.contains(&None) || vo.is_none_or(|vo| self.owners.contains(&Some(vo.clone())))
    }
}

/// The versions that are loaded.
#[derive(Debug, Clone, Default)]
pub struct Versions(Vec<Entry>);

impl Versions {
    /// Adds a version, or an owner or signers to one that is there.
    pub fn add(
        &mut self,
        version: Arc<PluginVersion>,
        owner: Option<VoName>,
        signers: BTreeSet<String>,
        source: &str,
    ) {
        match self.0.iter_mut().find(|entry| entry.version.digest == version.digest) {
            Some(entry) => {
                entry.owners.insert(owner);
                entry.signers.extend(signers);
            }
            None => self.0.push(Entry {
                version,
                owners: BTreeSet::from([owner]),
                signers,
                source: source.to_owned(),
            }),
        }
    }

    /// Takes a version away.
    pub fn remove(&mut self, digest: &Digest) {
        self.0.retain(|entry| entry.version.digest != *digest);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// The version with these bytes.
    pub fn get(&self, digest: &Digest) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.version.digest == *digest)
    }

    /// The highest version of a plugin within a range, of those that count; of two with one version,
    /// the later added.
    pub fn resolve(
        &self,
        name: &str,
        range: &semver::VersionReq,
        counts: impl Fn(&Entry) -> bool,
    ) -> Option<&Entry> {
        self.0
            .iter()
            .filter(|e| counts(e) && e.version.suits(name, range))
            .max_by(|a, b| a.version.card.version.cmp(&b.version.card.version))
    }

    /// What there is of a kind for a VO, for an error's last words.
    pub fn known(&self, vo: &VoName, kind: Kind) -> String {
        let of_kind = self.0.iter().filter(|e| e.version.kind == kind && e.visible(Some(vo)));
        let list = of_kind.map(|e| e.version.title()).collect::<Vec<_>>().join(", ");
        if list.is_empty() { format!("there is no {kind} plugin") } else { list }
    }
}
