//! Which of a slot's cores and GPUs are whose.

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use std::path::Path;

/// Variables that say which GPUs a program may take: NVIDIA's and AMD's. Both together would hide GPUs of AMD's
/// twice.
const NVIDIA: &str = "CUDA_VISIBLE_DEVICES";
const AMD: &str = "ROCR_VISIBLE_DEVICES";
/// Where AMD's driver is.
const AMD_DEVICE: &str = "/dev/kfd";
/// What they say for none at all.
const NONE: &str = "-1";

/// What no payload has.
#[derive(Debug, Clone)]
pub struct Shares {
    /// The cores that this process may run on, if they are the slot's alone.
    cores: Option<Vec<usize>>,
    /// None where the slot has none.
    gpus: Option<Vec<String>>,
}

/// What a payload has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Cores to run on; empty means any.
    pub cores: Vec<usize>,
    gpus: Option<Vec<String>>,
}

/// Whether the worker's GPUs are AMD's.
pub fn amd() -> bool {
    Path::new(AMD_DEVICE).exists()
}

/// What says which GPUs a program may take here.
fn variable() -> &'static str {
    if amd() { AMD } else { NVIDIA }
}

/// Cores that the machine has, as `0-3,8`.
fn online() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    text.trim().split(',').filter_map(count).sum()
}

/// Cores that this process may run on.
pub fn affinity() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()
}

impl Shares {
    /// What a slot of so many has.
    pub fn find(cores: u32, gpus: u32) -> Self {
        let told = std::env::var(variable()).ok();
        Self::of(cores, affinity(), online(), gpus, told)
    }

    fn of(
        cores: u32,
        affinity: Vec<usize>,
        online: usize,
        gpus: u32,
        told: Option<String>,
    ) -> Self {
        // With others' in sight it would choose the same ones as its neighbours; and who sees the whole machine
        // may not be alone there.
        let exact = affinity.len() == cores as usize && affinity.len() < online;
        let count = gpus as usize;
        let names = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect();
        let mut devices: Vec<String> =
            told.map(names).unwrap_or_else(|| (0..count).map(|n| n.to_string()).collect());
        devices.truncate(count);
        Self { cores: exact.then_some(affinity), gpus: (count > 0).then_some(devices) }
    }

    /// How many GPUs there are.
    pub fn gpus(&self) -> u32 {
        self.gpus.as_ref().map_or(0, |gpus| u32::try_from(gpus.len()).unwrap_or(u32::MAX))
    }

    /// Whether payloads are bound to cores of their own.
    pub fn binds(&self) -> bool {
        self.cores.is_some()
    }

    /// Gives a payload its share.
    pub fn take(&mut self, cores: u32, gpus: u32) -> Share {
        let enough = self.cores.as_mut().filter(|free| free.len() >= cores as usize);
        Share {
            cores: enough.map(|free| free.drain(..cores as usize).collect()).unwrap_or_default(),
            gpus: self
                .gpus
                .as_mut()
                .map(|free| free.drain(..free.len().min(gpus as usize)).collect()),
        }
    }

    /// A payload has ended.
    pub fn give_back(&mut self, share: Share) {
        if let Some(free) = &mut self.cores {
            free.extend(share.cores);
            free.sort_unstable();
        }
        if let (Some(free), Some(more)) = (&mut self.gpus, share.gpus) {
            free.extend(more);
            free.sort_unstable();
        }
    }
}

impl Share {
    /// What tells a payload of its GPUs.
    pub fn variables(&self) -> Vec<(String, String)> {
        let Some(gpus) = &self.gpus else { return Vec::new() };
        let devices = if gpus.is_empty() { NONE.to_owned() } else { gpus.join(",") };
        let count = ("SPINOR_GPUS".to_owned(), gpus.len().to_string());
        vec![(variable().to_owned(), devices), count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_cores_and_gpus_of_their_own() {
        let told = Some("GPU-b, GPU-a".to_owned());
        let mut shares = Shares::of(4, vec![2, 3, 8, 9], 16, 3, told);
        assert_eq!(shares.gpus(), 2);
        let (one, two) = (shares.take(3, 1), shares.take(1, 1));
        assert_eq!((&one.cores[..], &two.cores[..]), (&[2, 3, 8][..], &[9][..]));
        let devices = |share: &Share| share.variables()[0].1.clone();
        assert_eq!([devices(&one), devices(&two)], ["GPU-b", "GPU-a"]);
        let none = shares.take(0, 0);
        assert_eq!(devices(&none), "-1");
        shares.give_back(one);
        assert_eq!(shares.take(2, 1).cores, [2, 3]);
    }

    #[test]
    fn cores_that_may_be_a_neighbours_are_left_alone() {
        assert!(online() >= affinity().len());
        assert!(!Shares::of(4, vec![0, 1, 2, 3], 4, 0, None).binds());
        let mut shares = Shares::of(2, vec![0, 1, 2, 3], 8, 0, None);
        assert!(!shares.binds());
        assert_eq!(shares.take(1, 0), Share::default());
        assert!(Share::default().variables().is_empty());
    }
}
