//! Who a process is: its pid alone may be another's tomorrow.

use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// A process of this machine, since a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let (_, start_time) = stat(pid)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { pid, start_time, boot_id })
    }

    /// Reads a file that [`Self::of`] was written to.
    pub fn read(file: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(file)?).map_err(io::Error::other)
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        let runs = stat(self.pid).is_ok_and(|(state, _)| !matches!(state, 'Z' | 'X'));
        runs && Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// State and start time, fields 3 and 22 of `/proc/PID/stat`.
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let state = fields.first().and_then(|field| field.chars().next());
    let start = fields.get(19).and_then(|field| field.parse().ok());
    state.zip(start).ok_or_else(|| io::Error::other("unexpected /proc/PID/stat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_living_from_the_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id() as i32).unwrap();
        assert!(identity.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
