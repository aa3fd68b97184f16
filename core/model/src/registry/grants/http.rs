//! Servers on the network, and what the host shows them.

use crate::registry::ClientToken;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One server on the network: what may be asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// Scheme, host and port, e.g. `https://slurm.example.org:6820`.
    pub origin: String,
    /// Methods, in capitals.
    #[serde(default = "default_methods")]
    pub methods: BTreeSet<String>,
    /// A path must be one of these, or begin with one that ends in `/`.
    pub paths: BTreeSet<String>,
    /// File among the VO's secrets with certificates (PEM) of authorities that this server's certificate
    /// may come from, instead of those that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// Whether the host may be on a private network, this machine among them.
    #[serde(default)]
    pub private: bool,
    /// KiB of an answer's body that are given to the plugin.
    #[serde(default = "default_answer_kb")]
    pub max_kb: u32,
    /// Seconds that an exchange may take.
    #[serde(default = "default_http_seconds")]
    pub seconds: u32,
}

impl HttpGrant {
    /// Whether it covers a path, which has no `.` and `..` any more.
    pub fn covers(&self, path: &str) -> bool {
        let covered = |allowed: &String| {
            path == allowed || (allowed.ends_with('/') && path.starts_with(allowed.as_str()))
        };
        self.paths.iter().any(covered)
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.origin == other.origin
            && self.methods.is_subset(&other.methods)
            && self.paths.iter().all(|path| other.covers(path))
            && self.authorities == other.authorities
            && (other.private || !self.private)
            && self.max_kb <= other.max_kb
            && self.seconds <= other.seconds
    }
}

fn default_methods() -> BTreeSet<String> {
    BTreeSet::from(["GET".to_owned()])
}

fn default_answer_kb() -> u32 {
    1024
}

fn default_http_seconds() -> u32 {
    20
}

/// Where a secret may go: the host puts it there, the plugin never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretGrant {
    /// Scheme, host and port of a granted server.
    pub origin: String,
    /// The header that it is put into, in lower case.
    pub header: String,
    /// Methods of requests that may carry it; none means any that the server's grant has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub methods: BTreeSet<String>,
    /// If given, the secret is not a file but a token that the host gets from the VO's provider, and
    /// renews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<ClientToken>,
}

/// To whom a certificate is shown. If no proxy is named, it lies among the VO's secrets, under the grant's
/// name: PEM, the certificate (or proxy) first, then its chain and the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityGrant {
    /// Scheme, host and port of a granted server.
    pub origin: String,
    /// Which of the VO's proxies (`[proxies]`) it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}
