//! Real systems on this machine, from Debian's packages, by the scripts of `tests/real`.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
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
        Self::up_in(name, port, &[])
    }

    /// The same, in an environment.
    pub fn up_in(name: &str, port: &str, environment: &[(&str, &str)]) -> Self {
        let script = Path::new(ROOT).join("tests/real").join(name);
        let directory = tempfile::Builder::new().prefix("spinor-").tempdir().unwrap();
        // Its daemons run as several accounts.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).unwrap();
        let number = super::support::free_port().to_string();
        let mut command = Command::new(&script);
        command.arg("up").arg(directory.path()).env(port, number);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        let (printed, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {errors}", script.display());
        Self { script, directory, printed: String::from_utf8(printed).unwrap() }
    }

    /// What `up` printed about one thing.
    pub fn told(&self, name: &str) -> String {
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        self.printed.lines().find_map(value).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Has its script do something else.
    pub fn tell(&self, action: &str) {
        let status = Command::new(&self.script).arg(action).arg(self.path()).status().unwrap();
        assert!(status.success(), "{} {action}", self.script.display());
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

/// One at a time: the machine has few cores.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Slurm cluster, and an SSH server beside it.
pub struct Slurm {
    _alone: MutexGuard<'static, ()>,
    cluster: Real,
    sshd: Real,
    environment: BTreeMap<String, String>,
}

impl Slurm {
    /// Brings both up.
    pub fn up() -> Self {
        Self::up_in(&[])
    }

    /// The same, the cluster in an environment.
    pub fn up_in(environment: &[(&str, &str)]) -> Self {
        let _alone = alone();
        let cluster = Real::up_in("slurm", "SLURM_PORT", environment);
        let sshd = Real::up("sshd", "SSH_PORT");
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let environment = cluster.printed.lines().filter_map(pair).collect();
        Self { _alone, cluster, sshd, environment }
    }

    /// The directory that "workers" share.
    pub fn shared(&self) -> PathBuf {
        self.cluster.path().join("shared")
    }

    /// Has the cluster's script do something else.
    pub fn tell(&self, action: &str) {
        self.cluster.tell(action);
    }

    /// Runs one of the cluster's programs; what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", &self.environment["SLURM_CONF"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A token for slurmrestd that is good for so many seconds.
    pub fn token(&self, seconds: u32) -> String {
        let lifespan = format!("lifespan={seconds}");
        let told = self.run("scontrol", &["token", "username=nobody", &lifespan]);
        told.trim().trim_start_matches("SLURM_JWT=").to_owned()
    }

    /// Names of jobs that have ended, as often as they ran.
    pub fn names_of_ended(&self) -> Vec<String> {
        let ended = fs::read_to_string(self.cluster.path().join("log/ended")).unwrap();
        let name = |line: &str| {
            let (_, rest) = line.split_once(" Name=")?;
            Some(rest.split(' ').next()?.to_owned())
        };
        ended.lines().filter_map(name).collect()
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

/// An ARC CE.
pub struct Arc(pub Real, #[allow(dead_code)] MutexGuard<'static, ()>);

impl Arc {
    /// Brings it up as it is shipped, and as the environment says besides.
    pub fn up(environment: &[(&str, &str)]) -> Self {
        let alone = alone();
        let environment = [&[("ARC_CURVE", "secp521r1")], environment].concat();
        Self(Real::up_in("arc", "ARC_PORT", &environment), alone)
    }

    /// Names of all jobs that it has, as it keeps them.
    pub fn names(&self) -> Vec<String> {
        let script =
            "sed -n s/^jobname=//p \"$1\"/control/jobs/*/*/*/*/local \"$1\"/control/job.*.local";
        let output = Command::new("sh").args(["-c", script, "-"]).arg(self.0.path()).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Puts what a VO needs where its secrets lie.
    pub fn put_secrets(&self, directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        fs::copy(self.0.told("ARC_USER_PEM"), directory.join("robot")).unwrap();
        fs::copy(self.0.told("ARC_STRANGER_PEM"), directory.join("stranger")).unwrap();
        fs::copy(self.0.told("ARC_CA"), directory.join("grid-authorities")).unwrap();
    }

    /// A table of `examples/ces`, for this CE.
    pub fn table(&self, example: &str) -> String {
        let file = Path::new(ROOT).join(format!("examples/ces/{example}.toml"));
        let (origin, _) = self.0.told("ARC_URL").split_once("/arex").map(owned).unwrap();
        fs::read_to_string(file)
            .unwrap()
            .replace("https://arc.example.org:443", &origin)
            .replace("authorities =", "private = true, authorities =")
    }
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// Makes an authority, and a certificate of `localhost` that it signs: files of either, the second with
/// its key.
pub fn authority(directory: &Path) -> (PathBuf, PathBuf) {
    let (ca, own) = (directory.join("ca.pem"), directory.join("issuer.pem"));
    let script = r#"set -e; cd "$1"
        key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9'
        openssl req -x509 $key -subj "/CN=CA of a test" -keyout ca.key -out ca.pem
        openssl req -x509 $key -subj /CN=localhost -CA ca.pem -CAkey ca.key -keyout own.key -out own.pem \
            -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
        cat own.pem own.key >issuer.pem"#;
    let output = Command::new("bash").args(["-c", script, "-"]).arg(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (ca, own)
}

/// An HTCondor pool, and a CE before it.
pub struct Htcondor(pub Real);

impl Htcondor {
    /// Brings it up; tokens of `issuer`, whose certificate comes from `authority`, are taken at the CE.
    pub fn up(issuer: &str, authority: &Path) -> Self {
        let authority = authority.display().to_string();
        let environment = [("CONDOR_ISSUER", issuer), ("CONDOR_ISSUER_CA", &authority)];
        Self(Real::up_in("htcondor", "CONDOR_PORT", &environment))
    }

    /// `examples/ces/htcondor.toml`, for the CE with tokens or for the pool without.
    pub fn table(&self, for_ce: bool) -> String {
        let file = Path::new(ROOT).join("examples/ces/htcondor.toml");
        let text = fs::read_to_string(file).unwrap();
        let (pool, schedd) = match for_ce {
            true => (self.0.told("CONDOR_CE_POOL"), self.0.told("CONDOR_CE_SCHEDD")),
            false => (self.0.told("CONDOR_POOL"), self.0.told("CONDOR_SCHEDD")),
        };
        let (enter, shared) = (self.0.told("CONDOR_ENTER"), self.0.told("CONDOR_SHARED"));
        let here = |line: &str| match line.strip_prefix("program = [\"condor_") {
            // Its files are the test's, and it runs as another.
            Some(rest) => format!(
                r#"program = ["sh", "-c", "chmod -R a+rX .; exec {enter} condor_{} \"$@\"", "-"]"#,
                rest.trim_end_matches("\"]")
            ),
            None => line.to_owned(),
        };
        let lines = text.lines().filter(|line| for_ce || !line.starts_with("tokens."));
        lines
            .filter(|line| for_ce || !line.starts_with("environment"))
            .map(here)
            .collect::<Vec<_>>()
            .join("\n")
            .replace(r"ce\.example\.org(:9619)?", r"\w+@localhost|localhost:\d+")
            .replace(
                "audience = \"ce.example.org:9619\"",
                "audience = \"https://wlcg.cern.ch/jwt/v1/any\"",
            )
            .replace("ce.example.org:9619", &pool)
            .replace("ce.example.org", &schedd)
            .replace("/var/spool/spinor", &shared)
    }
}
