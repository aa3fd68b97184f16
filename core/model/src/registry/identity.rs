//! Where a VO's people log in, and where they find help.

use crate::{finding::Finding, id::GroupName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// The VO's OpenID Connect provider, and what is made of what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The provider: its configuration is at `ISSUER/.well-known/openid-configuration`.
    pub issuer: String,
    /// As what this server is registered there. The client's secret, if it has one, is the VO's
    /// secret `identity`.
    pub client_id: String,
    /// Scopes to ask for, beside `openid`.
    #[serde(default = "default_scopes")]
    pub scopes: BTreeSet<String>,
    /// The claim that names people.
    #[serde(default = "default_username")]
    pub username_claim: String,
    /// Whether whoever has an entitlement of a group becomes its member with the first login. If not,
    /// only those are let in whom the document lists.
    #[serde(default = "yes")]
    pub register: bool,
    /// Hours that a login lasts.
    #[serde(default = "default_session_hours")]
    pub session_hours: u32,
    /// Minutes after which the provider is asked again whether somebody is still a member; with 0 it is
    /// asked with each renewal.
    #[serde(default = "default_recheck_minutes")]
    pub recheck_minutes: u32,
    /// Whether the provider tells of memberships at its introspection endpoint as well.
    #[serde(default)]
    pub introspection: bool,
    /// Tokens of the VO's own that payloads show to storage; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataTokens>,
}

/// What a token for payloads' data is good for, and whose jobs get it: it is the VO's, not a person's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataTokens {
    /// Scopes, e.g. `storage.read:/lab`.
    pub scopes: BTreeSet<String>,
    /// Whom it is for, if the provider asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Groups whose jobs get it.
    pub groups: BTreeSet<GroupName>,
}

/// A token that the server gets from the VO's provider in its own name (client credentials).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientToken {
    /// Scopes, e.g. `compute.create`.
    pub scopes: BTreeSet<String>,
    /// Whom it is for, e.g. `https://arc.example.org:443`, if the provider asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl fmt::Display for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes = self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let audience = self.audience.as_deref().unwrap_or("whom the provider likes");
        write!(f, "a token with scopes `{scopes}` for {audience}")
    }
}

impl DataTokens {
    /// What the provider is asked for.
    pub fn wanted(&self) -> ClientToken {
        ClientToken { scopes: self.scopes.clone(), audience: self.audience.clone() }
    }
}

fn default_scopes() -> BTreeSet<String> {
    ["profile", "email", "eduperson_entitlement", "offline_access"].map(str::to_owned).into()
}

fn default_username() -> String {
    "preferred_username".to_owned()
}

fn yes() -> bool {
    true
}

fn default_session_hours() -> u32 {
    24
}

fn default_recheck_minutes() -> u32 {
    60
}

impl Identity {
    /// What is wrong with it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.issuer.starts_with("https://") && !is_here(&self.issuer) {
            let message = "must begin with https:// (http:// only on this machine)";
            findings.push(Finding::new("identity.issuer", &self.issuer, message));
        }
        if self.session_hours == 0 {
            findings.push(Finding::new("identity.session_hours", 0, "must be positive"));
        }
        for (name, empty) in self.data.iter().flat_map(DataTokens::lists) {
            if empty {
                let field = format!("identity.data.{name}");
                findings.push(Finding::new(&field, "[]", "is empty: nobody would get a token"));
            }
        }
        findings
    }
}

impl DataTokens {
    fn lists(&self) -> [(&'static str, bool); 2] {
        [("scopes", self.scopes.is_empty()), ("groups", self.groups.is_empty())]
    }
}

/// Whether an address is one of this machine.
fn is_here(url: &str) -> bool {
    let hosts = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let rest = hosts.iter().find_map(|host| url.strip_prefix(host));
    rest.is_some_and(|rest| {
        (rest.is_empty() || rest.starts_with([':', '/'])) && !rest.contains('@')
    })
}

/// Where a VO's people find help.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Support {
    /// In words.
    pub message: Option<String>,
    /// A page.
    pub webpage: Option<String>,
    /// An address.
    pub email: Option<String>,
}

impl Support {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_be_asked_in_the_clear() {
        for here in ["http://127.0.0.1", "http://localhost:8080/x", "http://[::1]/"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "http://localhost.example.org",
            "http://127.0.0.1.example.org/",
            "http://localhost:x@example.org",
            "http://example.org/http://localhost",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
