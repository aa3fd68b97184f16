//! The slot that a pilot offers: the least of what the CE granted, its CPU affinity, its control
//! group and the machine.

use crate::{cgroup, configuration::Configuration, share::affinity};
use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

/// What there is to fill with jobs.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Cores.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u64,
    /// As `uname -m` says.
    pub architecture: String,
    /// The grant's, and what was measured.
    pub attributes: BTreeMap<String, String>,
    granted: Duration,
    /// No payload runs on after this.
    pub ends: Instant,
}

/// One that is no older has hardly begun, unless more than a tenth of its life is gone.
const YOUNG: Duration = Duration::from_secs(300);

/// Left at the end of its life for reporting.
const MARGIN: Duration = Duration::from_secs(30);

impl Slot {
    /// Looks at the machine.
    pub fn find(configuration: &Configuration, started: Instant) -> Self {
        let mut attributes = configuration.attributes.clone();
        attributes.insert("power".to_owned(), format!("{:.1}", power()));
        let granted = Duration::from_secs(configuration.wall_time);
        Self {
            cores: match configuration.overcommit {
                true => configuration.cores,
                false => found_cores(configuration.cores),
            },
            memory_mb: least(configuration.memory_mb, [cgroup_memory_mb(), machine_memory_mb()]),
            architecture: std::env::consts::ARCH.to_owned(),
            attributes,
            granted,
            ends: started + granted.saturating_sub(MARGIN),
        }
    }

    /// Time it will still live.
    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Time it offers. One that has hardly begun offers all that its queue has: who asks for the whole of a queue
    /// means what the queue can give.
    pub fn offered(&self) -> Duration {
        let left = self.left();
        let gone = self.granted.saturating_sub(left);
        let young = gone <= YOUNG + MARGIN && gone <= self.granted / 10;
        if young { self.granted } else { left }
    }
}

fn least<const N: usize>(granted: u64, found: [Option<u64>; N]) -> u64 {
    found.into_iter().flatten().fold(granted, u64::min)
}

/// As many of those granted as there are.
fn found_cores(granted: u32) -> u32 {
    let bound = u64::try_from(affinity().len()).ok().filter(|cores| *cores > 0);
    let given = cgroup_cores().map(|cores| cores.max(1.0) as u64);
    u32::try_from(least(granted.into(), [bound, given])).unwrap_or(granted)
}

fn cgroup_file(name: &str) -> Option<String> {
    fs::read_to_string(cgroup::own()?.join(name)).ok()
}

fn cgroup_cores() -> Option<f64> {
    let text = cgroup_file("cpu.max")?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn cgroup_memory_mb() -> Option<u64> {
    Some(cgroup_file("memory.max")?.trim().parse::<u64>().ok()? >> 20)
}

fn machine_memory_mb() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

/// How fast a core is: millions of rounds of a fixed integer loop a second, over 50 ms.
fn power() -> f64 {
    let (started, mut rounds, mut x) = (Instant::now(), 0u64, 1u64);
    while started.elapsed() < Duration::from_millis(50) {
        for _ in 0..10_000 {
            x = black_box(x).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(rounds);
        }
        rounds += 10_000;
    }
    rounds as f64 / started.elapsed().as_secs_f64() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_no_more_than_it_was_granted_or_than_there_is() {
        assert_eq!(least(4, [None, Some(2)]), 2);
        assert_eq!(least(1, [Some(8), Some(2)]), 1);
        assert!(!affinity().is_empty());
        assert!(found_cores(1_000_000) < 1_000_000);
        let configuration = serde_json::json!({"server": "", "stamp": "0".repeat(32), "secret": "", "cores": 1_000_000,
            "memory_mb": 1, "wall_time": 60, "overcommit": true});
        let configuration: Configuration = serde_json::from_value(configuration).unwrap();
        assert_eq!(Slot::find(&configuration, Instant::now()).cores, 1_000_000);
        assert!(machine_memory_mb().is_some_and(|mb| mb > 16));
        assert!(power() > 0.0);
    }

    #[test]
    fn offers_all_of_its_queue_only_at_its_beginning() {
        let slot = |wall_time: u64, age: u64| {
            let configuration = serde_json::json!({"server": "", "stamp": "0".repeat(32), "secret": "",
                "cores": 1, "memory_mb": 1, "wall_time": wall_time});
            let configuration: Configuration = serde_json::from_value(configuration).unwrap();
            let slot = Slot::find(&configuration, Instant::now() - Duration::from_secs(age));
            (slot.offered().as_secs(), slot.left().as_secs())
        };
        for (wall_time, age) in [(86_400, 200), (3_600, 50), (900, 10)] {
            let (offered, left) = slot(wall_time, age);
            assert!(offered == wall_time && left <= wall_time - 30 - age, "{offered} {left}");
        }
        for (wall_time, age) in [(3_600, 340), (900, 70), (60, 0)] {
            let (offered, left) = slot(wall_time, age);
            assert_eq!(offered, left, "of {wall_time} after {age}");
        }
    }
}
