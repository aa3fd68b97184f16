//! What the operator lets a plugin touch.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Capabilities that the operator grants to a binding. `log` needs no grant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The server's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Granted>,
    /// Random bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<Granted>,
    /// One directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectoryGrant>,
    /// Pilots on the server's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessGrant>,
    /// Servers on the network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// Secrets that the host puts into requests, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret: BTreeMap<String, SecretGrant>,
}

impl Grants {
    /// Names of what is granted.
    pub fn names(&self) -> BTreeSet<&'static str> {
        [
            (self.clock.is_some(), "clock"),
            (self.random.is_some(), "random"),
            (self.directory.is_some(), "directory"),
            (self.process.is_some(), "process"),
            (!self.http.is_empty(), "http"),
            (!self.secret.is_empty(), "secret"),
        ]
        .into_iter()
        .filter_map(|(granted, name)| granted.then_some(name))
        .collect()
    }

    /// Names of what is granted here beyond `ceiling`. A grant with bounds must be the very one, or
    /// within its bounds.
    pub fn beyond(&self, ceiling: &[&Self]) -> BTreeSet<&'static str> {
        let within = |covers: &dyn Fn(&Self) -> bool| ceiling.iter().any(|grants| covers(grants));
        let directory = |own: &DirectoryGrant| {
            within(&|c| c.directory.as_ref().is_some_and(|d| own.is_within(d)))
        };
        let process =
            |own: &ProcessGrant| within(&|c| c.process.as_ref().is_some_and(|p| own.max <= p.max));
        let http = |own: &HttpGrant| within(&|c| c.http.iter().any(|h| own.is_within(h)));
        let secret = |(name, own): (&String, &SecretGrant)| {
            within(&|c| c.secret.get(name).is_some_and(|s| s == own))
        };
        [
            (self.clock.is_none() || within(&|c| c.clock.is_some()), "clock"),
            (self.random.is_none() || within(&|c| c.random.is_some()), "random"),
            (self.directory.as_ref().is_none_or(directory), "directory"),
            (self.process.as_ref().is_none_or(process), "process"),
            (self.http.iter().all(http), "http"),
            (self.secret.iter().all(secret), "secret"),
        ]
        .into_iter()
        .filter_map(|(covered, name)| (!covered).then_some(name))
        .collect()
    }
}

/// A grant without bounds of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {}

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryGrant {
    /// Where; a relative path begins at the server's data directory.
    pub path: String,
    /// Bytes it may hold, in MiB.
    #[serde(default = "default_directory_mb")]
    pub max_mb: u64,
}

impl DirectoryGrant {
    fn is_within(&self, other: &Self) -> bool {
        self.path == other.path && self.max_mb <= other.max_mb
    }
}

fn default_directory_mb() -> u64 {
    1024
}

/// Pilots on the server's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessGrant {
    /// Pilots there may be at a time.
    pub max: u32,
}

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

    fn is_within(&self, other: &Self) -> bool {
        self.origin == other.origin
            && self.methods.is_subset(&other.methods)
            && self.paths.iter().all(|path| other.covers(path))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Grants {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_grant_is_within_its_ceiling_in_every_bound() {
        let ceiling = grants(
            r#"
            http = [{ origin = "https://ce.org", methods = ["GET", "POST"], paths = ["/slurm/"], seconds = 10 }]
            secret.jwt = { origin = "https://ce.org", header = "authorization" }
            "#,
        );
        let http =
            |rest: &str| grants(&format!("http = [{{ origin = \"https://ce.org\", {rest} }}]"));
        let beyond = |own: Grants| own.beyond(&[&ceiling]).into_iter().next();
        assert_eq!(beyond(http(r#"paths = ["/slurm/jobs"], seconds = 10"#)), None);
        for rest in [
            r#"paths = ["/"], seconds = 10"#,
            r#"paths = ["/slurm"], seconds = 10"#,
            r#"paths = ["/slurm/"], seconds = 11"#,
            r#"paths = ["/slurm/"], seconds = 10, methods = ["DELETE"]"#,
            r#"paths = ["/slurm/"], seconds = 10, private = true"#,
            r#"paths = ["/slurm/"], seconds = 10, max_kb = 2048"#,
        ] {
            assert_eq!(beyond(http(rest)), Some("http"), "{rest}");
        }
        let secret = |name: &str, header: &str| {
            grants(&format!(
                "secret.{name} = {{ origin = \"https://ce.org\", header = \"{header}\" }}"
            ))
        };
        assert_eq!(beyond(secret("jwt", "authorization")), None);
        assert_eq!(beyond(secret("jwt", "x-other")), Some("secret"));
        assert_eq!(beyond(secret("other", "authorization")), Some("secret"));
    }
}
