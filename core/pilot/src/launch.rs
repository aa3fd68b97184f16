//! Between a pilot and its payload: sets limits that only a process can set for itself, and becomes the payload, or what
//! stands around it.
//!
//! The program is the pilot's own, as `spinor-pilot launch FILE PROGRAM ARGUMENT…`. It runs with the pilot's environment:
//! what a job or an image sets counts from the payload on, and not for what holds it.

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        memfd::{MFdFlags, memfd_create},
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use spinor_model::plan::Ending;
use std::{
    convert::Infallible,
    ffi::OsString,
    fs::{self, File},
    io::{Seek, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The program's name: the server's own program is the pilot if it is called so.
pub const NAME: &str = "spinor-pilot";
/// The word that asks for it.
pub const WORD: &str = "launch";
/// Exit code of a payload that could not begin, as a shell has it.
const CANNOT: u8 = 126;
const MIB: u64 = 1 << 20;

/// What a payload may have, and is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// Cores to run on; empty means any of the pilot's.
    pub cores: Vec<usize>,
    /// Directory of its control group.
    pub group: Option<PathBuf>,
    /// MiB that each of its processes may have for itself alone, used or not.
    pub data_mb: Option<u64>,
    /// MiB that a file of its may have.
    pub file_mb: Option<u64>,
    /// Its environment variables, and who sets them.
    pub environment: Environment,
    /// File that gets an [`Ending`], if it cannot begin.
    pub failure: PathBuf,
}

/// Who sets a payload's environment variables.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Environment {
    /// Nobody but the launcher, beside the pilot's own.
    Own(Vec<(String, String)>),
    /// Bubblewrap, beside the pilot's own.
    Walled(Vec<(String, String)>),
    /// Bubblewrap, and there are no others.
    Alone(Vec<(String, String)>),
}

impl Launch {
    /// What becomes a payload; its program and arguments are to be added. `file` tells it the rest, and is gone
    /// when it has been read.
    pub fn command(&self, file: &Path) -> anyhow::Result<Command> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(file)?.write_all(&serde_json::to_vec(self)?)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).arg(WORD).arg(file);
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
pub fn launch(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let file = PathBuf::from(arguments.next().unwrap_or_default());
    let told = fs::read(&file).context("this is for pilots to use");
    let told = told.and_then(|told| Ok(serde_json::from_slice::<Launch>(&told)?));
    drop(fs::remove_file(&file));
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            eprintln!("spinor-pilot: {error:#}");
            return ExitCode::from(CANNOT);
        }
    };
    let failure = told.failure.clone();
    let Err(why) = become_it(told, arguments);
    let why = serde_json::to_string(&why).unwrap_or_default();
    if fs::write(failure, &why).is_err() {
        eprintln!("spinor-pilot: {why}");
    }
    ExitCode::from(CANNOT)
}

fn become_it(
    told: Launch,
    mut words: impl Iterator<Item = OsString>,
) -> Result<Infallible, Ending> {
    // The worker's fault, not the job's.
    let lost = |error: anyhow::Error| Ending::Lost { reason: format!("{error:#}") };
    told.set().map_err(lost)?;
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(&program);
    let (variables, alone) = match told.environment {
        Environment::Own(variables) => {
            let error = command.args(words).envs(variables).exec();
            let reason = format!("{}: {error}", program.to_string_lossy());
            return Err(Ending::NotStarted { reason });
        }
        Environment::Walled(variables) => (variables, false),
        Environment::Alone(variables) => (variables, true),
    };
    // On its command line everybody on the machine could read them.
    let options = options(&variables, alone).map_err(lost)?;
    let error = command.arg("--args").arg(options.as_raw_fd().to_string()).args(words).exec();
    Err(lost(anyhow::Error::new(error).context(program.to_string_lossy().into_owned())))
}

/// Options of bubblewrap, in a file that it finds open.
fn options(variables: &[(String, String)], alone: bool) -> anyhow::Result<File> {
    let mut file = File::from(memfd_create("options", MFdFlags::empty())?);
    let clear = alone.then_some("--clearenv");
    let set = variables.iter().flat_map(|(name, value)| ["--setenv", name, value]);
    for option in clear.into_iter().chain(set) {
        file.write_all(option.as_bytes())?;
        file.write_all(&[0])?;
    }
    file.rewind()?;
    Ok(file)
}
