//! Programs, here and on other machines.

use crate::registry::ClientToken;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A program on the server's machine. It runs without a shell, in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandGrant {
    /// The program, and arguments that always come first, e.g. `["/usr/bin/sbatch"]`.
    pub program: Vec<String>,
    /// Regular expressions; each argument that the plugin adds must be matched by one of them, as a whole.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Its environment, beside HOME, LANG and the server's PATH. Nothing else of the server's own is in it.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables of its environment that are tokens, which the host gets from the VO's provider and renews.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, ClientToken>,
    /// KiB of each output that are given to the plugin.
    #[serde(default = "default_kb")]
    pub max_kb: u32,
    /// Seconds that it may take.
    #[serde(default = "default_seconds")]
    pub seconds: u32,
}

impl CommandGrant {
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.program == other.program
            && self.arguments.iter().all(|own| other.arguments.contains(own))
            && self.environment == other.environment
            && self.tokens == other.tokens
            && self.max_kb <= other.max_kb
            && self.seconds <= other.seconds
    }
}

/// An account on another machine. Its private key lies among the VO's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshGrant {
    /// The machine.
    pub host: String,
    /// Its port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The account.
    pub user: String,
    /// The machine's public key as `ssh-keyscan` prints it, without the machine's name:
    /// `ssh-ed25519 AAAA…`. No other is believed.
    pub host_key: String,
    /// File among the VO's secrets with the account's private key, in OpenSSH's form, without a passphrase.
    pub key: String,
    /// Programs that may be run there, by name.
    pub programs: BTreeMap<String, RemoteProgram>,
    /// The directory there in which files may be put and read.
    pub directory: String,
    /// KiB of each output that are given to the plugin.
    #[serde(default = "default_kb")]
    pub max_kb: u32,
    /// Seconds that a program or a transfer may take.
    #[serde(default = "default_seconds")]
    pub seconds: u32,
}

/// A program on another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteProgram {
    /// The program, and arguments that always come first.
    pub program: Vec<String>,
    /// Regular expressions; each argument that the plugin adds must be matched by one of them, as a whole.
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl SshGrant {
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let fewer = |own: &RemoteProgram, granted: &RemoteProgram| {
            own.program == granted.program
                && own.arguments.iter().all(|a| granted.arguments.contains(a))
        };
        let mut programs = self.programs.iter();
        (&self.host, self.port, &self.user, &self.host_key, &self.key, &self.directory)
            == (&other.host, other.port, &other.user, &other.host_key, &other.key, &other.directory)
            && programs.all(|(name, own)| other.programs.get(name).is_some_and(|p| fewer(own, p)))
            && self.max_kb <= other.max_kb
            && self.seconds <= other.seconds
    }
}

fn default_port() -> u16 {
    22
}

fn default_kb() -> u32 {
    1024
}

fn default_seconds() -> u32 {
    20
}
