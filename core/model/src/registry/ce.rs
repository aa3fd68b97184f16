//! CEs and their queues.

use super::Binding;
use crate::{
    id::{CeName, QueueName, SiteName},
    offer::{Offer, default_power},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What can be banned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Banned {
    /// A site: no pilots go there, and those that are there get no jobs.
    Site(SiteName),
    /// A CE: no pilots go there.
    Ce(CeName),
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(name) => write!(f, "site {name}"),
            Self::Ce(name) => write!(f, "CE {name}"),
        }
    }
}

/// A computing element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ce {
    /// Where it is.
    pub site: SiteName,
    /// Gets no pilots for the time being; those that it has go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub banned: bool,
    /// The host that feeds of downtimes know it by, e.g. `ce.example.org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its workers reach no network: what pilots and the server say to each other is carried by the
    /// plugin, in files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub push: bool,
    /// What brings pilots there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Binding>,
    /// Its queues.
    pub queues: BTreeMap<QueueName, Queue>,
}

/// A queue: what a pilot gets there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Cores of a pilot.
    #[serde(default = "one")]
    pub cores: u32,
    /// Whether a pilot offers these cores even where it finds fewer: workers whose batch system gives out more
    /// than they have, for jobs that wait more than they compute.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overcommit: bool,
    /// Memory of a pilot, in MiB.
    pub memory_mb: u64,
    /// Wall time of a pilot, in seconds.
    pub wall_time: u64,
    /// What a core can do, in HS06.
    #[serde(default = "default_power")]
    pub power: u32,
    /// GPUs of a pilot.
    #[serde(default)]
    pub gpus: u32,
    /// Scratch space of a pilot, in MiB.
    #[serde(default)]
    pub scratch_mb: u64,
    /// Pilots there may be at a time.
    #[serde(default = "one")]
    pub max_pilots: u32,
    /// Pilots that may wait there at a time; as many as there may be, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_waiting: Option<u32>,
    /// Whether payloads are kept apart there, from their pilot and from each other. A pilot that
    /// cannot do it takes no jobs; one that can is tagged [`ISOLATED`], and takes several owners'.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolate: bool,
    /// Whether payloads may run in container images there. A pilot that cannot do it takes no jobs; one that
    /// can is tagged [`IMAGES`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub images: bool,
    /// Under which directories of the workers there may be unpacked images.
    #[serde(default = "default_image_directories")]
    pub image_directories: Vec<String>,
    /// What its slots are known for.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// As `uname -m` says.
    #[serde(default = "default_architecture")]
    pub architecture: String,
    /// Whatever else a rule may look at.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The tag of slots whose payloads are kept apart.
pub const ISOLATED: &str = "isolated";
/// The tag of slots that run payloads in container images.
pub const IMAGES: &str = "images";
/// The tag of slots in which the kernel sees to it that no payload has more memory than its limit.
pub const LIMITS_MEMORY: &str = "limits:memory";
/// The tag of slots in which the kernel sees to it that no payload has more than its cores.
pub const LIMITS_CORES: &str = "limits:cores";

fn one() -> u32 {
    1
}

fn default_image_directories() -> Vec<String> {
    vec!["/cvmfs".to_owned()]
}

fn default_architecture() -> String {
    "x86_64".to_owned()
}

impl Queue {
    /// All that its slots are known for.
    pub fn tags(&self) -> BTreeSet<String> {
        let mut tags = self.tags.clone();
        tags.extend(self.isolate.then(|| ISOLATED.to_owned()));
        tags.extend(self.images.then(|| IMAGES.to_owned()));
        tags
    }

    /// What a pilot is told that its slot is known for. What it must see to itself it says itself: one that is
    /// older than that cannot.
    pub fn told(&self) -> BTreeSet<String> {
        let mut tags = self.tags();
        tags.retain(|tag| ![IMAGES, LIMITS_MEMORY, LIMITS_CORES].contains(&tag.as_str()));
        tags
    }

    /// What a CE is asked for beside cores, memory and wall time, by name.
    pub fn asked(&self) -> BTreeMap<String, String> {
        let more = [("gpus", u64::from(self.gpus)), ("scratch-mib", self.scratch_mb)];
        let more = more.into_iter().filter(|(_, amount)| *amount > 0);
        let more = more.map(|(name, amount)| (name.to_owned(), amount.to_string()));
        self.attributes.clone().into_iter().chain(more).collect()
    }

    /// What a fresh pilot of this queue offers.
    pub fn offer(&self, site: &SiteName, ce: &CeName, queue: &QueueName) -> Offer {
        Offer {
            site: site.clone(),
            ce: ce.clone(),
            queue: queue.clone(),
            cores: self.cores,
            memory_mb: self.memory_mb,
            gpus: self.gpus,
            scratch_mb: self.scratch_mb,
            wall_time: self.wall_time,
            power: self.power,
            architecture: self.architecture.clone(),
            tags: self.tags(),
            attributes: self.attributes.clone(),
        }
    }
}
