//! Control groups (v2), where the batch system has given the pilot its own to divide: the kernel then holds each
//! payload to its memory and its cores, whatever processes it makes.
//!
//! Sources: the kernel's `admin-guide/cgroup-v2.rst`, above all "Delegation" and "No Internal Process Constraint".

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

const ROOT: &str = "/sys/fs/cgroup";
/// The group in which the pilot itself goes on, since groups that are divided have no processes.
const OWN: &str = "spinor-pilot";
const MIB: u64 = 1 << 20;
/// Microseconds of `cpu.max`.
const PERIOD: u64 = 100_000;
/// Ended processes are gone within this, or stay.
const TRIES: u32 = 40;
const TRY: Duration = Duration::from_millis(50);

/// Directory of this process's group in the unified hierarchy.
pub fn own() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    Some(Path::new(ROOT).join(path.trim_start_matches('/')))
}

/// The pilot's group, divided.
#[derive(Debug)]
pub struct Groups {
    path: PathBuf,
    cores: bool,
}

/// A payload's group.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Groups {
    /// Divides the group that the pilot is in.
    pub fn divide() -> anyhow::Result<Self> {
        let path = own().ok_or_else(|| io::Error::other("there is no unified hierarchy"))?;
        let has = fs::read_to_string(path.join("cgroup.controllers"))?;
        let has = |controller: &str| has.split_whitespace().any(|word| word == controller);
        anyhow::ensure!(has("memory"), "it has no memory controller");
        let processes = fs::read_to_string(path.join("cgroup.procs"))?;
        let kin = ancestors();
        let strange = |process: &&str| !kin.iter().any(|own| own == process);
        if let Some(process) = processes.lines().find(strange) {
            anyhow::bail!("it is not the pilot's alone: process {process} is in it");
        }
        let own = path.join(OWN);
        fs::create_dir(&own)?;
        let enable = |controller: &str| {
            fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"))
        };
        let divided = move_all(&path, &own).and_then(|()| enable("memory"));
        if let Err(error) = divided {
            Self { path, cores: false }.unite();
            return Err(error.into());
        }
        let cores = has("cpu") && enable("cpu").is_ok();
        Ok(Self { path, cores })
    }

    /// Whether payloads are held to their cores.
    pub fn holds_cores(&self) -> bool {
        self.cores
    }

    /// Makes a payload's.
    pub fn make(&self, name: &str, memory_mb: u64, cores: u32) -> io::Result<Group> {
        let group = Group { path: self.path.join(name) };
        fs::create_dir(&group.path)?;
        match self.bound(&group, memory_mb, cores) {
            Ok(()) => Ok(group),
            Err(error) => {
                drop(fs::remove_dir(&group.path));
                Err(error)
            }
        }
    }

    fn bound(&self, group: &Group, memory_mb: u64, cores: u32) -> io::Result<()> {
        let set = |file: &str, value: String| fs::write(group.path.join(file), value);
        set("memory.max", memory_mb.saturating_mul(MIB).to_string())?;
        // Kernels without swap, or before 4.19, have neither.
        drop(set("memory.swap.max", "0".to_owned()));
        drop(set("memory.oom.group", "1".to_owned()));
        if self.cores {
            set("cpu.max", format!("{} {PERIOD}", u64::from(cores) * PERIOD))?;
        }
        Ok(())
    }

    /// Leaves the group as it was: who made it takes it away only so.
    fn unite(&self) {
        let own = self.path.join(OWN);
        for controller in ["memory", "cpu"] {
            let file = self.path.join("cgroup.subtree_control");
            drop(fs::write(file, format!("-{controller}")));
        }
        let united = move_all(&own, &self.path).and_then(|()| fs::remove_dir(&own));
        if let Err(error) = united {
            tracing::debug!(%error, "the control group stays divided");
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.unite();
    }
}

/// This process and those that it comes from.
fn ancestors() -> Vec<String> {
    let parent = |process: &String| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
        (parent != "0").then_some(parent)
    };
    std::iter::successors(Some(std::process::id().to_string()), parent).collect()
}

/// Moves the processes of a group, and those that they make meanwhile.
fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        let processes = fs::read_to_string(from.join("cgroup.procs"))?;
        if processes.trim().is_empty() {
            return Ok(());
        }
        for process in processes.lines() {
            match fs::write(to.join("cgroup.procs"), process) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                moved => moved?,
            }
        }
    }
    Err(io::Error::other("its processes do not leave it"))
}

impl Group {
    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel ended it for its memory.
    pub fn ran_out(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count.trim() != "0")
    }

    /// Ends what is left in it, and takes it away. Blocks.
    pub fn end(self) {
        // Kernels before 5.14 have no such file; there what has left its process group lives on.
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
        for _ in 0..TRIES {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(TRY);
        }
        tracing::warn!(group = %self.path.display(), "a control group stays");
    }
}
