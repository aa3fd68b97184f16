//! A plugin in its place: settings, grants, and how places are named.

use super::{Candidate, Grants};
use crate::id::{CeName, Digest, JobType, SinkName};
use semver::VersionReq;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A plugin in a place, with its settings and what it may touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// `kind/name`, or `name` alone where the kind is clear.
    pub plugin: String,
    /// Which versions will do; the highest that is there is taken when the document is applied.
    #[serde(default)]
    pub version: VersionReq,
    /// The plugin's settings.
    #[serde(default = "empty_settings")]
    pub settings: serde_json::Value,
    /// Capabilities that the operator grants.
    #[serde(default)]
    pub grants: Grants,
    /// Whether it decides at all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// What takes over when it trips.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fallback: Fallback,
    /// What may come in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Box<Candidate>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Binding {
    /// A plugin with its settings and nothing else said.
    pub fn new(plugin: &str, version: VersionReq, settings: serde_json::Value) -> Self {
        Self {
            plugin: plugin.to_owned(),
            version,
            settings,
            grants: Grants::default(),
            mode: Mode::default(),
            fallback: Fallback::default(),
            candidate: None,
        }
    }

    /// Digest of the settings, as decisions record it.
    pub fn settings_digest(&self) -> Digest {
        Digest::of(self.settings.to_string().as_bytes())
    }
}

/// Whether a binding decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It does not; whatever it would decide waits.
    Off,
}

/// What takes over when a binding's plugin trips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The version and settings that were there before; if there are none, jobs are held.
    #[default]
    Previous,
    /// As `previous`, and if there are none, the built-in plugin of the kind with empty settings.
    BuiltIn,
    /// Nothing: jobs are held.
    Hold,
}

pub(super) fn empty_settings() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Which jobs go where.
    Matching,
    /// Where pilots go.
    Supply,
    /// How pilots get to a CE.
    Computing,
    /// What a type of job means.
    Handling,
    /// Where usage records go.
    Accounting,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Matching, Self::Supply, Self::Computing, Self::Handling, Self::Accounting];

    /// What names of its plugins begin with: a folder of `plugins/`, a package of `wit/`.
    pub fn package(self) -> &'static str {
        match self {
            Self::Supply => "matching",
            other => other.as_str(),
        }
    }

    /// Whether its plugins decide by what they are told alone, and touch nothing.
    pub fn is_pure(self) -> bool {
        match self {
            Self::Matching | Self::Supply | Self::Handling => true,
            Self::Computing | Self::Accounting => false,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matching => "matching",
            Self::Supply => "supply",
            Self::Computing => "computing",
            Self::Handling => "handling",
            Self::Accounting => "accounting",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A place in a VO that a plugin is bound to: `matching`, `supply`, `handling.executable`,
/// `computing.my-ce`, `accounting.files`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BindingPath {
    /// The VO's rule.
    Matching,
    /// What steers the VO's pilots.
    Supply,
    /// A CE's backend.
    Computing(CeName),
    /// A job type's handler.
    Handling(JobType),
    /// A sink.
    Accounting(SinkName),
}

impl BindingPath {
    /// The key that a candidate's resolution is recorded under, beside the place's own.
    pub fn candidate_key(&self) -> String {
        format!("{self}:candidate")
    }

    /// Which kind of plugin goes there.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Matching => Kind::Matching,
            Self::Supply => Kind::Supply,
            Self::Computing(_) => Kind::Computing,
            Self::Handling(_) => Kind::Handling,
            Self::Accounting(_) => Kind::Accounting,
        }
    }
}

impl fmt::Display for BindingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matching => f.pad("matching"),
            Self::Supply => f.pad("supply"),
            Self::Computing(ce) => f.pad(&format!("computing.{ce}")),
            Self::Handling(job_type) => f.pad(&format!("handling.{job_type}")),
            Self::Accounting(sink) => f.pad(&format!("accounting.{sink}")),
        }
    }
}

/// Text that is no place for a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place for a plugin: write `matching`, `supply`, `handling.JOB-TYPE`, `computing.CE` or `accounting.SINK`"
)]
pub struct BadBindingPath(String);

impl FromStr for BindingPath {
    type Err = BadBindingPath;
    fn from_str(text: &str) -> Result<Self, BadBindingPath> {
        let bad = || BadBindingPath(text.chars().take(100).collect());
        match text.split_once('.') {
            None if text == "matching" => Ok(Self::Matching),
            None if text == "supply" => Ok(Self::Supply),
            Some(("computing", ce)) => ce.parse().map(Self::Computing).map_err(|_| bad()),
            Some(("handling", kind)) => kind.parse().map(Self::Handling).map_err(|_| bad()),
            Some(("accounting", sink)) => sink.parse().map(Self::Accounting).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for BindingPath {
    type Error = BadBindingPath;
    fn try_from(text: String) -> Result<Self, BadBindingPath> {
        text.parse()
    }
}

impl From<BindingPath> for String {
    fn from(path: BindingPath) -> String {
        path.to_string()
    }
}
