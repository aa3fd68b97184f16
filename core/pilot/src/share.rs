//! Which of a slot's cores and GPUs are whose.

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// Variables that say which GPUs a program may take: NVIDIA's and AMD's.
const VISIBLE: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];
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

/// Cores that this process may run on.
pub fn affinity() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()
}

impl Shares {
    /// What a slot of so many has.
    pub fn find(cores: u32, gpus: u32) -> Self {
        let told = VISIBLE.iter().find_map(|name| std::env::var(name).ok());
        Self::of(cores, affinity(), gpus, told)
    }

    fn of(cores: u32, affinity: Vec<usize>, gpus: u32, told: Option<String>) -> Self {
        // With more than its own in sight it would choose the same ones as its neighbours.
        let exact = affinity.len() == cores as usize;
        let count = gpus as usize;
        let names = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect();
        let mut devices: Vec<String> =
            told.map(names).unwrap_or_else(|| (0..count).map(|n| n.to_string()).collect());
        devices.truncate(count);
        Self { cores: exact.then_some(affinity), gpus: (count > 0).then_some(devices) }
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
        let visible = VISIBLE.iter().map(|name| ((*name).to_owned(), devices.clone()));
        visible.chain([("SPINOR_GPUS".to_owned(), gpus.len().to_string())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_cores_and_gpus_of_their_own() {
        let told = Some("GPU-b, GPU-a".to_owned());
        let mut shares = Shares::of(4, vec![2, 3, 8, 9], 2, told);
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
        let mut shares = Shares::of(2, vec![0, 1, 2, 3], 0, None);
        assert!(!shares.binds());
        assert_eq!(shares.take(1, 0), Share::default());
        assert!(Share::default().variables().is_empty());
    }
}
