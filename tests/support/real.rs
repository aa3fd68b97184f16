//! Real systems on this machine, from Debian's packages, by the scripts of `tests/real`.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A system that is up until this is dropped.
pub struct Real {
    script: PathBuf,
    directory: tempfile::TempDir,
    /// What `up` printed.
    pub printed: String,
}

impl Real {
    /// Brings it up, listening from `port` on.
    pub fn up(name: &str, port: &str) -> Self {
        let script = Path::new(ROOT).join("tests/real").join(name);
        let directory = tempfile::Builder::new().prefix("spinor-").tempdir().unwrap();
        // Its daemons run as several accounts.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).unwrap();
        let number = super::support::free_port().to_string();
        let mut command = Command::new(&script);
        let output = command.arg("up").arg(directory.path()).env(port, number).output().unwrap();
        let (printed, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {errors}", script.display());
        Self { script, directory, printed: String::from_utf8(printed).unwrap() }
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(Command::new(&self.script).arg("down").arg(self.path()).status());
    }
}

/// A Slurm cluster, and an SSH server beside it.
pub struct Slurm {
    cluster: Real,
    sshd: Real,
    environment: BTreeMap<String, String>,
}

impl Slurm {
    /// Brings both up.
    pub fn up() -> Self {
        let (cluster, sshd) = (Real::up("slurm", "SLURM_PORT"), Real::up("sshd", "SSH_PORT"));
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let environment = cluster.printed.lines().filter_map(pair).collect();
        Self { cluster, sshd, environment }
    }

    /// The directory that "workers" share.
    pub fn shared(&self) -> PathBuf {
        self.cluster.path().join("shared")
    }

    /// Puts what a VO needs where its secrets lie.
    pub fn put_secrets(&self, directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        fs::copy(self.sshd.path().join("id"), directory.join("cluster-key")).unwrap();
        fs::write(directory.join("slurm-token"), &self.environment["SLURM_JWT"]).unwrap();
    }

    /// A table of `examples/ces`, for this cluster.
    pub fn table(&self, example: &str) -> String {
        let file = Path::new(ROOT).join(format!("examples/ces/{example}.toml"));
        let text = fs::read_to_string(file).unwrap();
        let conf = &self.environment["SLURM_CONF"];
        let port = fs::read_to_string(self.sshd.path().join("conf")).unwrap();
        let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
        let here = |line: &str| match line.split(" = ").next() {
            Some("program") => format!("{line}\nenvironment = {{ SLURM_CONF = \"{conf}\" }}"),
            _ => line.replace(
                "program = [\"s",
                &format!("program = [\"env\", \"SLURM_CONF={conf}\", \"s"),
            ),
        };
        let lines: Vec<String> = text.lines().map(here).collect();
        lines
            .join("\n")
            .replace(&format!("\"env\", \"SLURM_CONF={conf}\", \"setsid\""), "\"setsid\"")
            .replace("/shared/vo", &self.shared().display().to_string())
            .replace("https://slurm.example.org:6820", &self.environment["SLURM_REST"])
            .replace("user = \"vo\", directory", "user = \"nobody\", directory")
            .replace("user = \"vo\"", "user = \"root\"")
            .replace("\"accounting\" ", "\"completion-file\" ")
            .replace("login.example.org", "127.0.0.1")
            .replace("port = 22", &format!("port = {port}"))
            .replace("ssh-ed25519 AAAA", self.sshd.printed.trim())
    }
}
