//! A throw-away PostgreSQL server for tests: one a process, from the machine's own programs, gone with
//! the process. Each test gets a database of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The environment says whether tests that can run on either database run on this one:
/// `SPINOR_TEST_DATABASE=postgres`.
pub fn wanted() -> bool {
    std::env::var("SPINOR_TEST_DATABASE").is_ok_and(|name| name == "postgres")
}

struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    as_postgres: bool,
}

/// A fresh, empty database; its URL.
///
/// # Panics
/// If PostgreSQL's programs are not there or do not start.
pub fn database() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.sql(&format!("CREATE DATABASE {name}"));
    let host = cluster.socket().display().to_string().replace('/', "%2F");
    format!("postgres://postgres@{host}/{name}")
}

fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = installed
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&on_path).filter(|bin| bin.join("initdb").is_file()));
    found.sort();
    found.pop().expect("no PostgreSQL: install its server (Debian: apt-get install postgresql)")
}

/// Clusters of processes that are gone.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix("spinor-pg-").and_then(|n| n.split('-').next())
        else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

impl Cluster {
    fn start() -> Self {
        sweep();
        let prefix = format!("spinor-pg-{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let cluster = Self { programs: programs(), directory, as_postgres: root };
        if root {
            // PostgreSQL refuses to run as root.
            run(Command::new("chmod").arg("755").arg(&cluster.directory));
            fs::create_dir(cluster.socket()).unwrap();
            run(Command::new("chown").arg("-R").arg("postgres").arg(&cluster.directory));
        } else {
            fs::create_dir(cluster.socket()).unwrap();
        }
        let data = cluster.data();
        run(cluster
            .program("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust"])
            .args(["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]));
        let mut server = cluster.program("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(cluster.socket());
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=300",
            "shared_buffers=64MB",
        ] {
            server.args(["-c", setting]);
        }
        let log = fs::File::create(cluster.directory.join("log")).unwrap();
        server.stdout(Stdio::null()).stderr(log);
        // The server ends with the thread that started it: this one ends with the process.
        thread::spawn(move || {
            let mut child = server.spawn().unwrap();
            drop(child.wait());
        });
        let started = Instant::now();
        while !cluster.psql("SELECT 1").status().unwrap().success() {
            assert!(started.elapsed() < Duration::from_secs(60), "{}", cluster.log());
            thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        if self.as_postgres {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.args(["--pdeathsig", "INT"]).arg(self.programs.join(name)).current_dir("/");
        command.stdout(Stdio::null());
        command
    }

    fn psql(&self, statement: &str) -> Command {
        let own = self.programs.join("psql");
        let mut command = Command::new(if own.is_file() { own } else { "psql".into() });
        command.arg("-h").arg(self.socket()).args(["-U", "postgres", "-qc", statement]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir(Path::new("/"));
        command
    }

    fn sql(&self, statement: &str) {
        assert!(self.psql(statement).status().unwrap().success(), "{statement}: {}", self.log());
    }
}

fn run(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
