//! Capability `process`: pilots on this machine, each in a session of its own that outlives the
//! server, known by pid, start time and boot.
//!
//! A pilot has a directory of its own, named by its stamp:
//!
//! | file | what |
//! |---|---|
//! | `pilot.json` | its configuration, with its secret; readable by its owner alone |
//! | `claim` | made by the pilot as it starts, or by the host's `find` if it did not: whoever makes it decides whether the pilot ever runs |
//! | `process.json` | who it is, written by itself |
//! | `exit-code` | how it ended, written by itself |
//! | `stdout`, `stderr` | its streams |

use super::{identity::ProcessIdentity, pilot_secrets::PilotSecrets};
use crate::{
    bindings::host::spinor::host::process::{Host, OutputStream, ProcessError, ProcessState},
    state::HostState,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use spinor_model::id::Stamp;
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The pilot program, and where pilots live.
#[derive(Debug, Clone)]
pub struct PilotProgram {
    /// Program and first arguments; the path of `pilot.json` follows.
    pub command: Vec<String>,
    /// Directory of all pilots' directories.
    pub root: PathBuf,
}

/// Pilots on this machine.
#[derive(Debug)]
pub struct ProcessCapability {
    program: PilotProgram,
    max: u32,
    /// Those of this server's life, to be reaped.
    children: Mutex<HashMap<String, Child>>,
}

type Answer<T> = Result<T, ProcessError>;

fn other(error: impl ToString) -> ProcessError {
    ProcessError::Other(error.to_string())
}

impl ProcessCapability {
    /// Grants at most `max` pilots of `program` at a time.
    pub fn new(program: PilotProgram, max: u32) -> io::Result<Self> {
        fs::create_dir_all(&program.root)?;
        Ok(Self { program, max, children: Mutex::default() })
    }

    fn directory(&self, stamp: &str) -> Answer<PathBuf> {
        let stamp: Stamp = stamp.parse().map_err(|e| ProcessError::Denied(format!("{e}")))?;
        Ok(self.program.root.join(stamp.as_str()))
    }

    fn running(&self) -> Answer<u32> {
        let entries = fs::read_dir(&self.program.root).map_err(other)?;
        let alive = |directory: &Path| {
            ProcessIdentity::read(&directory.join("process.json")).is_ok_and(|id| id.is_alive())
        };
        let count = entries.flatten().filter(|entry| alive(&entry.path())).count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn spawn(&self, stamp: &str, configuration: &str, secrets: &PilotSecrets) -> Answer<String> {
        let directory = self.directory(stamp)?;
        if directory.join("pilot.json").exists() {
            return Ok(stamp.to_owned());
        }
        if self.running()? >= self.max {
            let text =
                format!("{} pilots run, as many as the grant `process.max` allows", self.max);
            return Err(ProcessError::Exhausted(text));
        }
        let configuration = secrets.only(stamp).put_in(configuration.as_bytes());
        fs::create_dir_all(&directory).map_err(other)?;
        let file = directory.join("pilot.json");
        let mut private = OpenOptions::new();
        private.write(true).create_new(true).mode(0o600);
        let mut opened = private.open(&file).map_err(other)?;
        opened.write_all(&configuration).and_then(|()| opened.sync_all()).map_err(other)?;
        let child = self.start(&directory, &file).map_err(other)?;
        self.children().insert(stamp.to_owned(), child);
        Ok(stamp.to_owned())
    }

    fn start(&self, directory: &Path, configuration: &Path) -> io::Result<Child> {
        let (program, arguments) = self
            .program
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("no pilot program"))?;
        Command::new(program)
            .args(arguments)
            .arg(configuration)
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", directory)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("stdout"))?)
            .stderr(File::create(directory.join("stderr"))?)
            .spawn()
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<String, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which stamps were ever started here. Those that were being started when the server ended are
    /// given a second together to show themselves, then barred.
    fn find(&self, stamps: &[String]) -> Vec<Option<String>> {
        let shown = |stamp: &String| {
            let directory = self.directory(stamp);
            directory
                .is_ok_and(|d| !d.join("pilot.json").exists() || d.join("process.json").exists())
        };
        for _ in 0..100 {
            if stamps.iter().all(shown) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stamps.iter().map(|stamp| self.found_or_barred(stamp)).collect()
    }

    fn found_or_barred(&self, stamp: &str) -> Option<String> {
        let directory = self.directory(stamp).ok()?;
        if !directory.join("pilot.json").exists() {
            return None;
        }
        if !directory.join("process.json").exists() {
            let claim = directory.join("claim");
            if OpenOptions::new().write(true).create_new(true).open(claim).is_ok() {
                // Should this answer be lost, the next one says that it has ended.
                drop(fs::write(directory.join("exit-code"), "barred"));
                return None;
            }
        }
        Some(stamp.to_owned())
    }

    fn state(&self, stamp: &str) -> ProcessState {
        let Ok(directory) = self.directory(stamp) else { return ProcessState::Unknown };
        let mut starting = false;
        let mut status = None;
        let mut children = self.children();
        if let Some(child) = children.get_mut(stamp) {
            match child.try_wait() {
                Ok(None) => starting = true,
                Ok(Some(ended)) => {
                    status = Some(ended);
                    children.remove(stamp);
                }
                Err(_) => {}
            }
        }
        drop(children);
        let identity = ProcessIdentity::read(&directory.join("process.json"));
        if starting || identity.as_ref().is_ok_and(ProcessIdentity::is_alive) {
            return ProcessState::Running;
        }
        if let Ok(text) = fs::read_to_string(directory.join("exit-code")) {
            return ProcessState::Exited(text.trim().parse().ok());
        }
        match (status, identity) {
            (Some(status), _) => ProcessState::Exited(status.code()),
            (None, Ok(_)) => ProcessState::Exited(None),
            (None, Err(_)) => ProcessState::Unknown,
        }
    }

    fn terminate(&self, stamp: &str) -> Answer<()> {
        let file = self.directory(stamp)?.join("process.json");
        match ProcessIdentity::read(&file) {
            Ok(identity) if identity.is_alive() => {
                kill(Pid::from_raw(identity.pid), Signal::SIGTERM).map_err(other)
            }
            _ => Ok(()),
        }
    }

    fn output(&self, stamp: &str, stream: OutputStream, offset: u64, max: u32) -> Answer<Vec<u8>> {
        let name = match stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        };
        let mut file = File::open(self.directory(stamp)?.join(name)).map_err(other)?;
        file.seek(SeekFrom::Start(offset)).map_err(other)?;
        let mut content = Vec::new();
        file.take(u64::from(max.min(1 << 20))).read_to_end(&mut content).map_err(other)?;
        Ok(content)
    }

    fn remove(&self, stamp: &str) -> Answer<()> {
        if matches!(self.state(stamp), ProcessState::Running) {
            return Err(ProcessError::Other(format!("pilot {stamp} still runs")));
        }
        match fs::remove_dir_all(self.directory(stamp)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(other(error)),
            _ => Ok(()),
        }
    }
}

impl HostState {
    fn with_processes<
        T: Send + 'static,
        F: FnOnce(&ProcessCapability) -> Answer<T> + Send + 'static,
    >(
        &self,
        act: F,
    ) -> impl Future<Output = Answer<T>> + Send + use<T, F> {
        let granted = self.capabilities.process.clone();
        async move {
            let denied = || ProcessError::Denied("capability `process` is not granted".to_owned());
            let processes = granted.ok_or_else(denied)?;
            tokio::task::spawn_blocking(move || act(&processes)).await.map_err(other)?
        }
    }
}

type Played<T> = wasmtime::Result<T>;

impl Host for HostState {
    async fn spawn(&mut self, stamp: String, configuration: String) -> Played<Answer<String>> {
        let secrets = self.secrets.clone();
        let asked = (stamp.clone(), configuration.clone());
        let live = self.with_processes(move |p| p.spawn(&stamp, &configuration, &secrets));
        self.tape.exchange("process.spawn", &asked, live).await
    }

    async fn find(&mut self, stamps: Vec<String>) -> Played<Vec<Option<String>>> {
        let asked = stamps.clone();
        let found = self.with_processes(move |p| Ok(p.find(&stamps)));
        let none = vec![None; asked.len()];
        let live = async { found.await.unwrap_or(none) };
        self.tape.exchange("process.find", &asked, live).await
    }

    async fn states(&mut self, references: Vec<String>) -> Played<Vec<ProcessState>> {
        let asked = references.clone();
        let states = self
            .with_processes(move |p| Ok(references.iter().map(|stamp| p.state(stamp)).collect()));
        let unknown = vec![ProcessState::Unknown; asked.len()];
        let live = async { states.await.unwrap_or(unknown) };
        self.tape.exchange("process.states", &asked, live).await
    }

    async fn terminate(&mut self, reference: String) -> Played<Answer<()>> {
        let asked = reference.clone();
        let live = self.with_processes(move |p| p.terminate(&reference));
        self.tape.exchange("process.terminate", &asked, live).await
    }

    async fn output(
        &mut self,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Played<Answer<Vec<u8>>> {
        let asked = (reference.clone(), stream, offset, max);
        let live = self.with_processes(move |p| p.output(&reference, stream, offset, max));
        self.tape.exchange("process.output", &asked, live).await
    }

    async fn remove(&mut self, reference: String) -> Played<Answer<()>> {
        let asked = reference.clone();
        let live = self.with_processes(move |p| p.remove(&reference));
        self.tape.exchange("process.remove", &asked, live).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in that does what a pilot does with its directory.
    const SCRIPT: &str = r#"set -C; : > claim || exit 9; grep -c s3cret "$0"; exit 3"#;

    fn capability(root: &Path, max: u32) -> ProcessCapability {
        let command = ["sh", "-c", SCRIPT].map(str::to_owned).to_vec();
        ProcessCapability::new(PilotProgram { command, root: root.to_owned() }, max).unwrap()
    }

    fn ended(capability: &ProcessCapability, stamp: &str) -> Option<i32> {
        for _ in 0..500 {
            if let ProcessState::Exited(code) = capability.state(stamp) {
                return code;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running");
    }

    #[test]
    fn puts_the_secret_in_and_starts_once() {
        let root = tempfile::tempdir().unwrap();
        let capability = capability(root.path(), 2);
        let secrets = PilotSecrets::from_iter([("p1", "s3cret")]);
        let configuration = r#"{"secret": "{{pilot-secret:p1}}"}"#;
        for _ in 0..2 {
            assert_eq!(capability.spawn("p1", configuration, &secrets).unwrap(), "p1");
        }
        assert_eq!(ended(&capability, "p1"), Some(3));
        assert_eq!(capability.output("p1", OutputStream::Stdout, 0, 9).unwrap(), b"1\n");
        capability.remove("p1").unwrap();
        assert!(matches!(capability.state("p1"), ProcessState::Unknown));
    }

    #[test]
    fn a_pilot_that_never_showed_itself_is_barred() {
        let root = tempfile::tempdir().unwrap();
        let capability = capability(root.path(), 1);
        fs::create_dir_all(root.path().join("p2")).unwrap();
        fs::write(root.path().join("p2/pilot.json"), "{}").unwrap();
        let stamps = ["p2".to_owned(), "never".to_owned()];
        assert_eq!(capability.find(&stamps), [None, None]);
        assert!(root.path().join("p2/claim").exists());
        // Had that answer been lost: it is not taken for one that still may come.
        assert_eq!(capability.find(&stamps[..1]), [Some("p2".to_owned())]);
        assert!(matches!(capability.state("p2"), ProcessState::Exited(None)));
        assert!(capability.spawn("../p3", "{}", &PilotSecrets::default()).is_err());
    }
}
