//! A payload's processes: one group, watched and ended as one.

use nix::{
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use std::{fs, io, os::unix::process::ExitStatusExt, process::Child};

/// Clock ticks a second, as Linux has it on every architecture we run on.
const TICKS: f64 = 100.0;
const PAGE: u64 = 4096;

/// What a group of processes uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Resident memory in MiB.
    pub memory_mb: u64,
    /// User and system time so far of those that live, and of those they have waited for.
    pub cpu_seconds: f64,
}

/// Fields of `/proc/PID/stat` after the name, by their number in proc(5).
struct Stat(Vec<String>);

impl Stat {
    fn of(pid: &str) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
        Some(Self(fields))
    }

    fn number(&self, field: usize) -> u64 {
        self.0.get(field - 3).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn cpu_seconds(&self) -> f64 {
        (14..=17).map(|field| self.number(field)).sum::<u64>() as f64 / TICKS
    }
}

/// What the processes of a group use together.
pub fn usage(group: Pid) -> Usage {
    let (mut usage, mut pages) = (Usage::default(), 0);
    for (_, stat) in members(group) {
        pages += stat.number(24);
        usage.cpu_seconds += stat.cpu_seconds();
    }
    usage.memory_mb = (pages * PAGE).div_ceil(1 << 20);
    usage
}

/// How a group's leader ended, and the time that it and its children took.
pub struct Ended {
    /// Exit code, or the signal that ended it.
    pub status: Result<i32, i32>,
    /// User and system time.
    pub cpu_seconds: f64,
}

/// Waits for a group's leader, then ends whatever it left behind. Blocks.
pub fn wait(mut leader: Child) -> io::Result<Ended> {
    let group = Pid::from_raw(i32::try_from(leader.id()).map_err(io::Error::other)?);
    // Not reaped yet: its times can still be read, and its group's number is still its own.
    waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    let cpu_seconds = Stat::of(&group.to_string()).map_or(0.0, |stat| stat.cpu_seconds());
    signal(group, Signal::SIGKILL);
    let status = leader.wait()?;
    let status = status.code().ok_or_else(|| status.signal().unwrap_or(0));
    Ok(Ended { status, cpu_seconds })
}

/// Ends a group when dropped: whoever stops watching a payload must not leave it running.
pub struct Guard(Option<Pid>);

impl Guard {
    /// Watches over a group.
    pub fn new(group: Pid) -> Self {
        Self(Some(group))
    }

    /// The group has ended by itself.
    pub fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            signal(group, Signal::SIGKILL);
        }
    }
}

/// Asks what runs behind a program that would end it at once, if that heard of it, to end.
pub fn ask_behind(group: Pid, program: &str) {
    for (pid, _) in members(group) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() != program {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// Processes of a group.
fn members(group: Pid) -> Vec<(Pid, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let member = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = Stat::of(&pid.to_string())?;
        let own = i32::try_from(stat.number(5)) == Ok(group.as_raw());
        own.then_some((Pid::from_raw(pid), stat))
    };
    entries.flatten().filter_map(member).collect()
}

/// Sends a signal to a whole group; one that is gone does not mind.
pub fn signal(group: Pid, signal: Signal) {
    let _ = killpg(group, signal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command};

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap()
    }

    #[test]
    fn tells_exit_codes_from_signals_and_counts_time() {
        let ended =
            wait(shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 7")).unwrap();
        assert_eq!(ended.status, Ok(7));
        assert!(ended.cpu_seconds > 0.0);
        assert_eq!(wait(shell("kill -9 $$")).unwrap().status, Err(9));
    }

    #[test]
    fn ends_what_a_payload_leaves_behind() {
        let child = shell("sleep 1000 & exit 0");
        let group = Pid::from_raw(child.id() as i32);
        wait(child).unwrap();
        for _ in 0..100 {
            // A zombie that nobody has reaped yet has no memory.
            if usage(group).memory_mb == 0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("a process of the group lives on");
    }
}
