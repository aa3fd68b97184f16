//! A plugin version: a component that has been looked into, compiled and tried.

use semver::Version;
use serde::Serialize;
use spinor_model::{finding::Finding, id::Digest, registry::Kind};
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

/// The versions that are loaded.
#[derive(Debug, Clone, Default)]
pub struct Versions(Vec<Arc<PluginVersion>>);

impl Versions {
    /// Adds a version; one with the same bytes is there already.
    pub fn add(&mut self, version: Arc<PluginVersion>) {
        if self.get(&version.digest).is_none() {
            self.0.push(version);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PluginVersion>> {
        self.0.iter()
    }

    /// The version with these bytes.
    pub fn get(&self, digest: &Digest) -> Option<&Arc<PluginVersion>> {
        self.0.iter().find(|version| version.digest == *digest)
    }

    /// The highest version of a plugin within a range; of two with one version, the later added.
    pub fn resolve(&self, name: &str, range: &semver::VersionReq) -> Option<&Arc<PluginVersion>> {
        self.0
            .iter()
            .filter(|v| v.card.name == name && range.matches(&v.card.version))
            .max_by(|a, b| a.card.version.cmp(&b.card.version))
    }

    /// What there is of a plugin, for an error's last words.
    pub fn known(&self, kind: Kind) -> String {
        let of_kind = self.0.iter().filter(|v| v.kind == kind).map(|v| v.title());
        let list = of_kind.collect::<Vec<_>>().join(", ");
        if list.is_empty() { format!("there is no {kind} plugin") } else { list }
    }
}
