//! Between a pilot and its payload: sets limits that only a process can set for itself, and becomes the payload.
//!
//! The program is the pilot's own, as `spinor-pilot launch LIMITS PROGRAM ARGUMENT…`.

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use spinor_model::plan::Ending;
use std::{
    convert::Infallible,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

/// The word that asks for it.
pub const WORD: &str = "launch";
/// Exit code of a payload that could not begin, as a shell has it.
const CANNOT: u8 = 126;
const MIB: u64 = 1 << 20;

/// What a payload may have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Cores to run on; empty means any of the pilot's.
    pub cores: Vec<usize>,
    /// Directory of its control group.
    pub group: Option<PathBuf>,
    /// MiB that each of its processes may have for itself alone, used or not.
    pub data_mb: Option<u64>,
    /// MiB that a file of its may have.
    pub file_mb: Option<u64>,
    /// File that gets an [`Ending`], if it cannot begin.
    pub failure: PathBuf,
}

impl Limits {
    /// What becomes a payload under these limits; its program and arguments are to be added.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(crate::NAME).arg(WORD).arg(serde_json::to_string(self)?);
        Ok(command)
    }

    fn set(&self) -> anyhow::Result<()> {
        if let Some(group) = &self.group {
            fs::write(group.join("cgroup.procs"), "0").context("cannot join the control group")?;
        }
        if !self.cores.is_empty() {
            let mut set = CpuSet::new();
            self.cores.iter().try_for_each(|core| set.set(*core))?;
            sched_setaffinity(Pid::from_raw(0), &set).context("cannot be bound to cores")?;
        }
        // Nobody looks at it, and it fills disks.
        lower(Resource::RLIMIT_CORE, 0)?;
        self.data_mb.map_or(Ok(()), |mb| lower(Resource::RLIMIT_DATA, mb.saturating_mul(MIB)))?;
        self.file_mb.map_or(Ok(()), |mb| lower(Resource::RLIMIT_FSIZE, mb.saturating_mul(MIB)))
    }
}

fn lower(resource: Resource, limit: u64) -> anyhow::Result<()> {
    let (_, most) = getrlimit(resource)?;
    let limit = limit.min(most);
    setrlimit(resource, limit, limit).with_context(|| format!("cannot limit {resource:?}"))
}

/// Becomes what the arguments after the word say, or tells why not.
pub fn launch(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments;
    let limits = arguments.next().unwrap_or_default();
    let limits: Limits = match serde_json::from_slice(limits.as_encoded_bytes()) {
        Ok(limits) => limits,
        Err(error) => {
            eprintln!("spinor-pilot: {error}: this is for pilots to use");
            return ExitCode::from(CANNOT);
        }
    };
    let Err(why) = become_it(&limits, arguments);
    let told = serde_json::to_string(&why).unwrap_or_default();
    if fs::write(&limits.failure, told).is_err() {
        eprintln!("spinor-pilot: {why:?}");
    }
    ExitCode::from(CANNOT)
}

fn become_it(
    limits: &Limits,
    mut command: impl Iterator<Item = OsString>,
) -> Result<Infallible, Ending> {
    // The worker's fault, not the job's.
    limits.set().map_err(|error| Ending::Lost { reason: format!("{error:#}") })?;
    let program = command.next().unwrap_or_default();
    let error = Command::new(&program).args(command).exec();
    Err(Ending::NotStarted { reason: format!("{}: {error}", program.to_string_lossy()) })
}
