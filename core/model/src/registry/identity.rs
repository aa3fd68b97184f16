//! Where a VO's people log in, and where they find help.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// Hours that a login lasts without being used.
    #[serde(default = "default_session_hours")]
    pub session_hours: u32,
    /// Minutes after which the provider is asked again whether somebody is still a member; with 0 it is
    /// asked with each renewal.
    #[serde(default = "default_recheck_minutes")]
    pub recheck_minutes: u32,
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
    /// What is wrong with it: field, value, message.
    pub(super) fn findings(&self) -> Vec<(String, String, String)> {
        let mut findings = Vec::new();
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let safe = self.issuer.starts_with("https://")
            || local.iter().any(|start| self.issuer.starts_with(start));
        if !safe {
            let message = "must begin with https:// (http:// only on this machine)".to_owned();
            findings.push(("identity.issuer".to_owned(), self.issuer.clone(), message));
        }
        if self.session_hours == 0 {
            let field = "identity.session_hours".to_owned();
            findings.push((field, "0".to_owned(), "must be positive".to_owned()));
        }
        findings
    }
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
