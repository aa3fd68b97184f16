//! Payloads are kept apart by bubblewrap: from the pilot, from each other, and from what else the account
//! has on the worker.
//!
//! A payload has the machine's files to read and none of them to write. Its directory is its own, and
//! so is /tmp; where pilots have theirs, and where the account is at home, it sees nothing else. It sees its own
//! processes only. The network is the machine's.

use crate::configuration::Configuration;
use anyhow::{Context, bail};
use nix::unistd::{User, getuid};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The program, which sites have for containers.
pub const PROGRAM: &str = "bwrap";

/// How payloads of a pilot run.
#[derive(Debug, Clone)]
pub struct Isolation {
    /// Where the program is: who runs it does not look again.
    program: PathBuf,
    /// Directories that are empty for them, but for their own.
    hidden: Vec<PathBuf>,
    /// Whether they need the machine's devices.
    devices: bool,
}

impl Isolation {
    /// Tries whether this worker can do it.
    pub fn find(configuration: &Configuration) -> anyhow::Result<Self> {
        let Configuration { home, spool, gpus, .. } = configuration;
        let account = User::from_uid(getuid())?;
        let account =
            account.context("payloads cannot be isolated here: the account is unknown")?;
        let more = [Some(account.dir.as_path()), spool.as_deref().and_then(Path::parent)];
        let hidden = hidden(home, more.into_iter().flatten());
        let program =
            on_path(PROGRAM).context("payloads cannot be isolated here: bubblewrap is missing")?;
        let isolation = Self { program, hidden, devices: *gpus > 0 };
        let probe = home.join("isolated");
        std::fs::create_dir_all(&probe)?;
        let mut command = Command::new(&isolation.program);
        command.args(isolation.arguments(&probe)).arg("true").stdin(Stdio::null());
        let output = command.output().context("payloads cannot be isolated here")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("payloads cannot be isolated here: {why}");
        }
        Ok(isolation)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What stands before a payload's command.
    pub fn arguments(&self, directory: &Path) -> Vec<OsString> {
        let mut options = Options::default();
        let root = Path::new("/");
        options.add("--ro-bind", &[root, root]);
        options.devices(self.devices);
        // What is mounted later lies above.
        self.hidden.iter().for_each(|hidden| options.add("--tmpfs", &[hidden]));
        options.end(directory, directory)
    }
}

/// Options of bubblewrap, in their order.
#[derive(Default)]
pub struct Options(Vec<OsString>);

impl Options {
    /// One more.
    pub fn add(&mut self, option: &str, paths: &[&Path]) {
        self.0.push(option.into());
        self.0.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
    }

    /// All devices of the machine, or those that every program needs; and the payload's processes.
    pub fn devices(&mut self, all: bool) {
        let dev = Path::new("/dev");
        match all {
            true => {
                self.add("--dev-bind", &[dev, dev]);
                self.add("--tmpfs", &[Path::new("/dev/shm")]);
            }
            false => self.add("--dev", &[dev]),
        }
        self.add("--proc", &[Path::new("/proc")]);
    }

    /// The payload's directory, at its place, and what every payload has: the program comes next.
    pub fn end(mut self, directory: &Path, place: &Path) -> Vec<OsString> {
        self.add("--bind", &[directory, place]);
        self.add("--chdir", &[place]);
        let last = ["--unshare-pid", "--unshare-ipc", "--die-with-parent", "--"];
        last.iter().for_each(|option| self.add(option, &[]));
        self.0
    }
}

/// A program, where the worker's PATH has it.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What payloads of a pilot at home here do not see, and `more`. Outer ones come first.
fn hidden<'a>(home: &'a Path, more: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
    let root = Path::new("/");
    let pilots = home.parent().filter(|parent| *parent != root).unwrap_or(home);
    // Whoever may speak to the account's services there has them run what they like.
    let common = ["/tmp", "/var/tmp", "/run/user"].map(Path::new);
    let all = common.into_iter().chain([pilots]).chain(more);
    let mut hidden: Vec<PathBuf> = all.filter_map(|path| path.canonicalize().ok()).collect();
    hidden.retain(|path| path.is_dir() && path != root);
    hidden.sort();
    // What lies in a hidden one is hidden with it, and is not there to be mounted on.
    hidden.dedup_by(|inner, outer| inner.starts_with(outer));
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell prints in a payload's place.
    fn said(isolation: &Isolation, directory: &Path, script: &str) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(isolation.arguments(directory)).args(["sh", "-c", script]);
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    #[test]
    fn a_payload_sees_neither_its_pilot_nor_another() {
        let home = tempfile::tempdir().unwrap();
        let configuration = home.path().join("pilot.json");
        let told = r#"{"server": "", "stamp": "0123456789abcdef0123456789abcdef", "secret": "",
            "cores": 1, "memory_mb": 1, "wall_time": 1}"#;
        std::fs::write(&configuration, told).unwrap();
        let shared = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let mut configuration = Configuration::read(&configuration).unwrap();
        configuration.spool = Some(shared.path().join("spinor-1"));
        let isolation = Isolation::find(&configuration).unwrap();
        std::fs::write(shared.path().join("spinor-1.1.request"), "secret").unwrap();
        let [own, other] = ["1.1", "2.1"].map(|name| home.path().join(name));
        for directory in [&own, &other] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("secret"), "secret").unwrap();
        }
        let list = |directory: &Path| format!("ls -A {}", directory.display());
        assert_eq!(said(&isolation, &own, &list(home.path())), "1.1\n");
        assert!(!said(&isolation, &own, &list(shared.path())).contains("request"));
        assert_eq!(
            said(&isolation, &own, "cat secret; echo new > file; pwd"),
            format!("secret{}\n", own.display())
        );
        assert_eq!(std::fs::read_to_string(own.join("file")).unwrap(), "new\n");
        let pids = said(&isolation, &own, "ls /proc | grep -c '^[0-9]'");
        assert!(pids.trim().parse::<u32>().unwrap() < 6, "{pids}");
        assert!(said(&isolation, &own, "touch /etc/x").contains("Read-only file system"));
        assert_eq!(
            said(&isolation, &own, "ls -A /tmp | wc -l; touch /tmp/x && echo yes"),
            "1\nyes\n"
        );
    }
}
