//! X.509 proxies that the server issues in a VO's name, for CEs and storage that take no tokens.

use crate::{finding::Finding, id::GroupName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a VO's proxy is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxySource {
    /// File among the VO's secrets: the robot's certificate, its chain and its key, in PEM.
    pub certificate: String,
    /// VOMS servers, asked in turn until one answers: `https://HOST:PORT`. With none the proxy says nothing
    /// of groups and roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voms: Vec<String>,
    /// File among the VO's secrets with certificates (PEM) of authorities that those servers'
    /// certificates may come from, instead of those that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// Groups and roles to ask for, e.g. `/auger/Role=pilot`, that which sites should look at first; what the servers give by themselves if there
    /// are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Hours that it is good for; it is renewed half way.
    #[serde(default = "default_hours")]
    pub hours: u32,
    /// Groups whose payloads get one, limited to data, as `X509_USER_PROXY`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
}

fn default_hours() -> u32 {
    12
}

const MAX_HOURS: u32 = 240;

impl ProxySource {
    /// What is wrong with it.
    pub(super) fn findings(&self, name: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |field: &str, value: &str, message: &str| {
            findings.push(Finding::new(format!("proxies.{name}.{field}"), value, message));
        };
        for server in self.voms.iter().filter(|server| !server.starts_with("https://")) {
            find("voms", server, "must begin with https://");
        }
        for (i, attribute) in self.attributes.iter().enumerate() {
            if self.attributes[..i].contains(attribute) {
                find("attributes", attribute, "is there twice");
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._=-".contains(c);
            if !attribute.starts_with('/') || !attribute.chars().all(plain) {
                find("attributes", attribute, "is no group or role: it looks like /VO/Role=NAME");
            }
        }
        if !self.attributes.is_empty() && self.voms.is_empty() {
            find("voms", "[]", "is empty: nobody would vouch for `attributes`");
        }
        if !(1..=MAX_HOURS).contains(&self.hours) {
            let message = format!("must be 1 to {MAX_HOURS}");
            find("hours", &self.hours.to_string(), &message);
        }
        findings
    }
}
