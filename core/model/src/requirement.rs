//! What a job asks for, in the vocabulary that DIRAC's community agreed for its next matcher.

use crate::{
    id::{CeName, SiteName},
    image::Image,
    tags::TagExpression,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a job asks of the slot that runs it.
///
/// ```
/// use spinor_model::requirement::Requirement;
/// let asked: Requirement = serde_json::from_str(
///     r#"{"wall_time": 300, "cpu": {"num_cores": {"min": 2}}, "tags": "cvmfs & ~slow"}"#,
/// ).unwrap();
/// assert_eq!((asked.cpu.num_cores.min, asked.cpu.num_cores.max()), (2, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requirement {
    /// Wall time in seconds.
    pub wall_time: u64,
    /// Cores, memory and architecture.
    pub cpu: Cpu,
    /// GPUs; a job without takes no slot's GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Disk.
    pub io: Io,
    /// The container image that it runs in; without it runs in what the worker is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// What the slot's tags must say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagExpression>,
    /// The only sites it may go to; empty means any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sites: BTreeSet<SiteName>,
    /// Sites it must not go to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub banned_sites: BTreeSet<SiteName>,
    /// The only CEs it may go to; empty means any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ces: BTreeSet<CeName>,
    /// Whatever else the VO's rule may look at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Default for Requirement {
    fn default() -> Self {
        Self {
            wall_time: 24 * 3600,
            cpu: Cpu::default(),
            gpu: None,
            io: Io::default(),
            image: None,
            tags: None,
            sites: BTreeSet::new(),
            banned_sites: BTreeSet::new(),
            ces: BTreeSet::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// CPU work that no job exceeds, in HS06 seconds: the longest wall time at the power that queues have by default.
pub const MAX_WORK: u64 = 10_800_000;

impl Requirement {
    /// How many GPUs it takes.
    pub fn gpus(&self) -> u32 {
        self.gpu.as_ref().map_or(0, |gpu| gpu.count)
    }

    /// Seconds of wall time that the job may take in a slot whose cores have this power, in HS06.
    pub fn wall_seconds(&self, power: u32) -> u64 {
        self.cpu.work.map_or(self.wall_time, |work| work.div_ceil(u64::from(power.max(1))))
    }
}

/// Cores, memory and architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cpu {
    /// How many cores.
    pub num_cores: Cores,
    /// Memory, in MiB.
    pub ram_mb: Ram,
    /// Work that the job may do, in HS06 seconds: what slower slots need longer for. It says the wall
    /// time instead of `wall_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<u64>,
    /// The processor's architecture; none means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// A number of cores: at least `min`, and up to `max` where the slot has them free.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cores {
    /// At least this many.
    pub min: u32,
    /// At most this many; as many as `min` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

impl Default for Cores {
    fn default() -> Self {
        Self { min: 1, max: None }
    }
}

impl Cores {
    /// At most this many.
    pub fn max(&self) -> u32 {
        self.max.unwrap_or(self.min)
    }
}

/// Memory, in MiB.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ram {
    /// What the slot must have free.
    pub request: u64,
    /// What the job is ended for using; as much as `request` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Default for Ram {
    fn default() -> Self {
        Self { request: 512, limit: None }
    }
}

impl Ram {
    /// What the job is ended for using.
    pub fn limit(&self) -> u64 {
        self.limit.unwrap_or(self.request)
    }
}

/// GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// How many.
    pub count: u32,
}

/// Disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Io {
    /// Scratch space in MiB.
    pub scratch_mb: u64,
}

/// A requirement that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct BadRequirement {
    /// JSON pointer inside the requirement.
    pub field: &'static str,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Wall times, in seconds, that classes are rounded up to.
pub const WALL_SEGMENTS: &[u64] = &[
    60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 259_200, 345_600, 518_400,
    691_200, 864_000, 1_080_000,
];

/// Memory is rounded to steps of so many MiB.
pub const MEMORY_STEP: u64 = 128;

impl Requirement {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), BadRequirement> {
        let cores = &self.cpu.num_cores;
        let bad = |field, message: String| Err(BadRequirement { field, message });
        if cores.min == 0 || cores.min > 1024 {
            return bad("/cpu/num_cores/min", format!("is {}: ask for 1 to 1024", cores.min));
        }
        if cores.max() < cores.min {
            return bad(
                "/cpu/num_cores/max",
                format!("is {}, below min {}", cores.max(), cores.min),
            );
        }
        if self.wall_time == 0 || self.wall_time > *WALL_SEGMENTS.last().unwrap_or(&0) {
            return bad("/wall_time", format!("is {}: give 1 to 1080000 seconds", self.wall_time));
        }
        if self.cpu.work.is_some_and(|work| work == 0 || work > MAX_WORK) {
            return bad("/cpu/work", format!("must be 1 to {MAX_WORK} HS06 seconds"));
        }
        if self.cpu.ram_mb.limit() < self.cpu.ram_mb.request {
            let Ram { request, limit } = &self.cpu.ram_mb;
            return bad("/cpu/ram_mb/limit", format!("is {limit:?}, below request {request}"));
        }
        if !self.sites.is_empty() && !self.banned_sites.is_empty() {
            return bad("/banned_sites", "cannot stand beside sites: give one of them".to_owned());
        }
        Ok(())
    }

    /// The class it belongs to: times and memory rounded up, what does not matter for matching
    /// dropped. Two jobs of one class go to the same slots.
    pub fn class(&self) -> Requirement {
        let mut class = self.clone();
        class.wall_time = round_up(self.wall_time);
        class.cpu.work = self.cpu.work.map(|work| round_up(work.div_ceil(10)) * 10);
        class.cpu.num_cores.max = Some(self.cpu.num_cores.max());
        class.cpu.ram_mb = Ram {
            request: self.cpu.ram_mb.request.div_ceil(MEMORY_STEP) * MEMORY_STEP,
            limit: None,
        };
        class
    }
}

fn round_up(seconds: u64) -> u64 {
    WALL_SEGMENTS.iter().copied().find(|s| *s >= seconds).unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_class_asks_for_no_less(wall in 1u64..1_080_000, memory in 1u64..1_000_000) {
            let mut asked = Requirement { wall_time: wall, ..Requirement::default() };
            asked.cpu.ram_mb.request = memory;
            let class = asked.class();
            prop_assert!(class.wall_time >= wall && class.cpu.ram_mb.request >= memory);
            prop_assert_eq!(class.class(), class);
        }
    }

    #[test]
    fn refuses_nonsense() {
        let check = |json: &str| serde_json::from_str::<Requirement>(json).unwrap().check();
        assert!(check("{}").is_ok());
        for (json, field) in [
            (r#"{"cpu":{"num_cores":{"min":0}}}"#, "/cpu/num_cores/min"),
            (r#"{"cpu":{"num_cores":{"min":2,"max":1}}}"#, "/cpu/num_cores/max"),
            (r#"{"wall_time":0}"#, "/wall_time"),
            (r#"{"cpu":{"ram_mb":{"request":9,"limit":8}}}"#, "/cpu/ram_mb/limit"),
            (r#"{"sites":["A"],"banned_sites":["B"]}"#, "/banned_sites"),
        ] {
            assert_eq!(check(json).unwrap_err().field, field);
        }
        assert!(serde_json::from_str::<Requirement>(r#"{"walltime": 3}"#).is_err());
    }
}
