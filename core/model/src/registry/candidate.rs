//! A version on its way into a place: shadow, then canary, then in the other's stead.

use super::{Binding, Grants, Kind};
use semver::VersionReq;
use serde::{Deserialize, Serialize};

/// A version on its way into a place, beside the one that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// `kind/name`.
    pub plugin: String,
    /// Which versions will do.
    #[serde(default)]
    pub version: VersionReq,
    /// Its settings.
    #[serde(default = "super::binding::empty_settings")]
    pub settings: serde_json::Value,
    /// Capabilities that the operator grants to it.
    #[serde(default)]
    pub grants: Grants,
    /// How far it is let in.
    pub stage: Stage,
    /// Percent of pilots, submissions or queues that a canary decides for.
    #[serde(default = "default_share")]
    pub share: u8,
    /// Percent of verdicts that may differ before a canary is rolled back by itself.
    #[serde(default = "default_drift")]
    pub max_drift: u8,
}

fn default_share() -> u8 {
    10
}

fn default_drift() -> u8 {
    20
}

impl Candidate {
    /// It as a binding of its own.
    pub fn binding(&self) -> Binding {
        let settings = self.settings.clone();
        let binding = Binding::new(&self.plugin, self.version.clone(), settings);
        Binding { grants: self.grants.clone(), ..binding }
    }

    /// What keeps it from a place of this kind: field, value, and why.
    pub(super) fn findings(&self, kind: Kind) -> Vec<(&'static str, String, String)> {
        let mut found = Vec::new();
        let package = kind.package();
        if !self.plugin.starts_with(&format!("{package}/")) {
            let message = format!("is no {kind} plugin: its name begins with `{package}/`");
            found.push(("plugin", self.plugin.clone(), message));
        }
        for (field, percent) in [("share", self.share), ("max_drift", self.max_drift)] {
            if percent > 100 {
                found.push((field, percent.to_string(), "is no percentage: 0 to 100".to_owned()));
            }
        }
        let message = match (self.stage, kind) {
            (_, Kind::Supply) => {
                "what steers pilots has no candidates: bind it, and roll back if it disappoints"
            }
            (Stage::Shadow, _) if !kind.is_pure() => {
                "acts on the world, so it cannot run beside another: shadow is for matching and handling"
            }
            (Stage::Canary, Kind::Accounting) => {
                "every sink gets every record: a sink has no canary, bind a second sink beside it"
            }
            _ => return found,
        };
        found.push(("stage", self.stage.as_str().to_owned(), message.to_owned()));
        found
    }
}

/// How far a candidate is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is asked beside the other and decides nothing.
    Shadow,
    /// It decides for a fixed share.
    Canary,
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}
