//! What the operator lets a plugin touch.

mod http;
mod program;

pub use http::{HttpGrant, IdentityGrant, SecretGrant};
pub use program::{CommandGrant, RemoteProgram, SshGrant};

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
    /// Certificates that the host shows to servers, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub identity: BTreeMap<String, IdentityGrant>,
    /// Programs on the server's machine, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub command: BTreeMap<String, CommandGrant>,
    /// Accounts on other machines, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, SshGrant>,
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
            (!self.command.is_empty(), "command"),
            (!self.ssh.is_empty(), "ssh"),
        ]
        .into_iter()
        .filter_map(|(granted, name)| granted.then_some(name))
        .collect()
    }

    /// Where tokens of the VO's provider are granted.
    pub fn tokens(&self) -> impl Iterator<Item = String> {
        let secrets = self.secret.iter().filter(|(_, secret)| secret.token.is_some());
        let secrets = secrets.map(|(name, _)| format!("secret.{name}.token"));
        let programs = self.command.iter().filter(|(_, program)| !program.tokens.is_empty());
        secrets.chain(programs.map(|(name, _)| format!("command.{name}.tokens")))
    }

    /// Where proxies of the VO's are granted, and which.
    pub fn proxies(&self) -> impl Iterator<Item = (String, &String)> {
        self.identity.iter().filter_map(|(name, identity)| {
            Some((format!("identity.{name}.proxy"), identity.proxy.as_ref()?))
        })
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
        let identity = |(name, own): (&String, &IdentityGrant)| {
            within(&|c| c.identity.get(name).is_some_and(|i| i == own))
        };
        let command = |(name, own): (&String, &CommandGrant)| {
            within(&|c| c.command.get(name).is_some_and(|p| own.is_within(p)))
        };
        let ssh = |(name, own): (&String, &SshGrant)| {
            within(&|c| c.ssh.get(name).is_some_and(|e| own.is_within(e)))
        };
        [
            (self.clock.is_none() || within(&|c| c.clock.is_some()), "clock"),
            (self.random.is_none() || within(&|c| c.random.is_some()), "random"),
            (self.directory.as_ref().is_none_or(directory), "directory"),
            (self.process.as_ref().is_none_or(process), "process"),
            (self.http.iter().all(http), "http"),
            (self.secret.iter().all(secret), "secret"),
            (self.identity.iter().all(identity), "identity"),
            (self.command.iter().all(command), "command"),
            (self.ssh.iter().all(ssh), "ssh"),
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

    #[test]
    fn a_program_is_within_its_ceiling_with_fewer_arguments_and_less_of_everything() {
        let program = |rest: &str| {
            grants(&format!("command.sbatch = {{ program = [\"/usr/bin/sbatch\"], {rest} }}"))
        };
        let ceiling = program(r#"arguments = ["--parsable", "-p"], seconds = 10"#);
        let beyond = |own: Grants| own.beyond(&[&ceiling]).into_iter().next();
        assert_eq!(beyond(program(r#"arguments = ["-p"], seconds = 9"#)), None);
        for rest in [
            r#"arguments = [".*"], seconds = 9"#,
            r#"arguments = ["-p"], seconds = 11"#,
            r#"arguments = ["-p"], seconds = 9, environment = { LD_PRELOAD = "x" }"#,
        ] {
            assert_eq!(beyond(program(rest)), Some("command"), "{rest}");
        }
    }
}
