//! What a pilot is told when it is sent.

use anyhow::Context;
use serde::Deserialize;
use spinor_model::id::Stamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What a pilot is told when it is sent.
#[derive(Deserialize)]
pub struct Configuration {
    /// The server's address.
    pub server: String,
    /// Addresses of other servers on its database, to turn to when it does not answer.
    #[serde(default)]
    pub others: Vec<String>,
    /// Its name.
    pub stamp: Stamp,
    /// Its secret.
    pub secret: String,
    /// Cores that the CE granted.
    pub cores: u32,
    /// Whether it offers them even where it finds fewer.
    #[serde(default)]
    pub overcommit: bool,
    /// Memory that the CE granted, in MiB.
    pub memory_mb: u64,
    /// Seconds that the CE granted.
    pub wall_time: u64,
    /// GPUs that the CE granted.
    #[serde(default)]
    pub gpus: u32,
    /// Disk that the CE granted, in MiB.
    #[serde(default)]
    pub scratch_mb: u64,
    /// What its slot is known for.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Whatever else a rule may look at.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Seconds without any answer after which it gives up.
    #[serde(default = "default_patience")]
    pub patience: u64,
    /// Whether payloads are kept apart, or none are run.
    #[serde(default)]
    pub isolate: bool,
    /// Whether payloads may be run in container images, or none are run at all.
    #[serde(default)]
    pub images: bool,
    /// Under which directories there may be unpacked images.
    #[serde(default)]
    pub image_directories: Vec<PathBuf>,
    /// Whether its worker reaches no network.
    #[serde(default)]
    push: bool,
    /// Where it leaves what it asks, if so: a path, and the beginning of the files' names.
    #[serde(skip)]
    pub spool: Option<PathBuf>,
    /// The directory that is its own.
    #[serde(skip)]
    pub home: PathBuf,
}

fn default_patience() -> u64 {
    7200
}

impl Configuration {
    /// Reads the file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut configuration: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no pilot configuration", file.display()))?;
        if configuration.push {
            let spool = std::env::var_os("SPINOR_SPOOL");
            let spool = spool.context("SPINOR_SPOOL is not set, and the worker has no network")?;
            configuration.spool = Some(spool.into());
        }
        for server in std::iter::once(&mut configuration.server).chain(&mut configuration.others) {
            *server = server.trim_end_matches('/').to_owned();
        }
        let home = match file.parent() {
            Some(home) if home != Path::new("") => home,
            _ => Path::new("."),
        };
        configuration.home = home.canonicalize()?;
        Ok(configuration)
    }

    /// Takes the secret out of the file, once it has been used: payloads run as the same user.
    pub fn forget_secret(&mut self) -> std::io::Result<()> {
        self.secret.clear();
        let draft = self.home.join("pilot.draft");
        std::fs::write(&draft, format!("{{\"stamp\": \"{}\"}}\n", self.stamp))?;
        std::fs::rename(draft, self.home.join("pilot.json"))
    }
}
