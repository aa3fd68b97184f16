//! A server of a test's own: the real binary, a fresh data directory, a port of its own.
#![allow(clippy::unwrap_used, dead_code)]

mod compiled;

use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// The binary.
pub const SPINOR: &str = env!("CARGO_BIN_EXE_spinor");

/// Everything is closer together than on a grid.
const PACE: &str = "[pace]\nheartbeat = 0.3\npoll = 0.1\nidle = 4\nsupply = 0.2\ntick = 0.1\n";

/// A VO whose jobs run on this machine, two at a time.
pub const LAB: &str = r#"
vo = "lab"
[limits]
lease_seconds = 60
[groups.lab_user]
users = ["ada", "grace"]
[groups.lab_admin]
users = ["root"]
properties = ["NormalUser", "JobAdministrator"]
[sites.HERE]
[ces.here]
site = "HERE"
backend = { plugin = "computing/local", grants.process.max = 1 }
queues.all = { cores = 2, memory_mb = 2048, wall_time = 3600, max_pilots = 1 }
[matching]
plugin = "matching/standard"
[handling.executable]
plugin = "handling/executable"
[accounting.files]
plugin = "accounting/files"
grants.directory.path = "usage"
"#;

/// The VO `lab` with other CEs, whose site is `SITE`, and with `more` before them.
pub fn lab_with(more: &str, ces: &str) -> String {
    let (lab, _) = LAB.split_once("[sites.HERE]").unwrap();
    let (_, rest) = LAB.split_once("[matching]").unwrap();
    format!("{lab}{more}[sites.SITE]\n{ces}\n[matching]{rest}")
}

/// What takes long and is the same whichever the database is tried on one of them.
pub fn seen_on_sqlite() -> bool {
    spinor_test_postgres::wanted()
}

/// A port below the range that outgoing connections take theirs from: none of those may sit on it
/// while the server is down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port =
            20_000 + (std::process::id().wrapping_mul(37).wrapping_add(step * 7) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server that a test may kill and start again.
pub struct Server {
    directory: tempfile::TempDir,
    database: Option<String>,
    port: u16,
    child: Option<Child>,
    /// A directory that it shares with another.
    files: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Starts a server with nothing in it.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with nothing in it, and more configuration.
    pub fn start_with(configuration: &str) -> Self {
        Self::start_in(configuration, &[])
    }

    /// Starts a server with nothing in it, more configuration, and an environment.
    pub fn start_in(configuration: &str, environment: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = environment.iter().map(own).collect();
        let directory = tempfile::tempdir().unwrap();
        let text = format!("{PACE}{configuration}");
        fs::write(directory.path().join("spinor.toml"), text).unwrap();
        let port = free_port();
        let database = spinor_test_postgres::wanted().then(spinor_test_postgres::database);
        let (child, files) = (None, None);
        let mut server = Self { directory, database, port, child, files, environment };
        server.up();
        server
    }

    /// Starts two servers on one PostgreSQL database, with one directory of files.
    pub fn pair() -> [Self; 2] {
        let url = spinor_test_postgres::database();
        let files = tempfile::tempdir().unwrap().keep();
        [0, 1].map(|_| {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("spinor.toml"), PACE).unwrap();
            let (database, files) = (Some(url.clone()), Some(files.clone()));
            let (port, child, environment) = (free_port(), None, Vec::new());
            let mut server = Self { directory, database, port, child, files, environment };
            server.up();
            server
        })
    }

    /// Starts a server with the VO `lab`.
    pub fn with_lab() -> Self {
        let server = Self::start();
        server.apply(LAB).unwrap();
        server
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A scratch directory.
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the process and waits until it answers.
    pub fn up(&mut self) {
        let first = !self.data().exists();
        if first {
            compiled::lend(&self.data());
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("server.log"))
            .unwrap();
        let child = Command::new(SPINOR)
            .arg("serve")
            .args(["--config", &self.path("spinor.toml")])
            .args(["--data", &self.path("data")])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .envs(self.database.as_ref().map(|url| ("SPINOR_DATABASE", url)))
            .envs(self.files.as_ref().map(|files| ("SPINOR_FILES", files)))
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let live = format!("{}/api/health/live", self.url());
        let started = Instant::now();
        while !answers(&live) {
            assert!(started.elapsed() < Duration::from_secs(120), "{}", self.log());
            sleep(Duration::from_millis(20));
        }
        if first {
            compiled::keep(&self.data());
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the process where it is, as an overloaded machine would.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// The directory that it shares with another.
    pub fn files(&self) -> PathBuf {
        self.files.clone().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }

    /// Writes a file for a command to read.
    pub fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.directory.path().join(name), content).unwrap();
        self.path(name)
    }

    /// A token made on the server's machine.
    pub fn token(&self, who: &[&str]) -> String {
        let output = Command::new(SPINOR)
            .args(["token", "issue", "--data", &self.path("data")])
            .envs(self.database.as_ref().map(|url| ("SPINOR_DATABASE", url)))
            .envs(self.files.as_ref().map(|files| ("SPINOR_FILES", files)))
            .args(who)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The operator's token.
    pub fn operator(&self) -> String {
        self.token(&["--operator", "test"])
    }

    /// A member's token.
    pub fn member(&self, group: &str, user: &str) -> String {
        self.token(&["--vo", "lab", "--group", group, "--user", user])
    }

    /// Runs a command of the command line.
    pub fn run(&self, token: &str, arguments: &[&str]) -> Output {
        Command::new(SPINOR)
            .args(arguments)
            .env("SPINOR_URL", self.url())
            .env("SPINOR_TOKEN", token)
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// Runs a command that must work; what it printed, as JSON.
    pub fn json(&self, token: &str, arguments: &[&str]) -> Value {
        let output = self.run(token, &[arguments, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
    }

    /// Puts a VO document in force, or says why not.
    pub fn apply(&self, document: &str) -> Result<(), String> {
        let file = self.file("vo.toml", document);
        let output = self.run(&self.operator(), &["apply", &file]);
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Submits a description as ada; its jobs, or why not.
    pub fn submit(&self, description: &str) -> Result<Vec<i64>, String> {
        let file = self.file("job.json", description);
        let token = self.member("lab_user", "ada");
        let output = self.run(&token, &["job", "submit", &file, "--json"]);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let submitted: Value = serde_json::from_slice(&output.stdout).unwrap();
        Ok(submitted["job_ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect())
    }

    /// All pilots of `lab`, those that have ended among them.
    pub fn pilots(&self) -> Vec<Value> {
        let told = self.json(&self.operator(), &["pilot", "list", "--vo", "lab", "--ended"]);
        told.as_array().unwrap().clone()
    }

    /// A job, with its attempts and its log.
    pub fn job(&self, id: i64) -> Value {
        self.json(&self.member("lab_user", "ada"), &["job", "show", &id.to_string()])
    }

    /// A job's state.
    pub fn status(&self, id: i64) -> String {
        self.job(id)["job"]["status"].as_str().unwrap().to_owned()
    }

    /// Waits until a condition holds.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(90), "{what}\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }

    /// What somebody's job printed, so far as it is known.
    pub fn printed(&self, user: &str, job: i64) -> String {
        let logs = self.run(&self.member("lab_user", user), &["job", "logs", &job.to_string()]);
        String::from_utf8(logs.stdout).unwrap()
    }

    /// What jobs see of GPUs: two that ask for one each, at the same time and in order, and one that asks for none.
    pub fn gpus_of_jobs(&self) -> [String; 3] {
        let job = |gpus: &str| {
            let script = "echo $SPINOR_GPUS $CUDA_VISIBLE_DEVICES; sleep 4";
            let description = format!(
                r#"{{"executable": "sh", "arguments": ["-c", "{script}"], "stdout": "out",
                    "requirements": {{"wall_time": 600 {gpus}}}}}"#
            );
            self.submit(&description).unwrap()[0]
        };
        let said = |job: i64| {
            self.until_status(job, "Done");
            self.printed("ada", job)
        };
        let one = r#", "gpu": {"count": 1}"#;
        let mut both = [job(one), job(one)].map(said);
        both.sort();
        let [first, second] = both;
        [first, second, said(job(""))]
    }

    /// Waits until a job is in a state.
    pub fn until_status(&self, id: i64, status: &str) {
        self.until(&format!("job {id} never was {status}"), || self.status(id) == status);
    }

    /// Lines of all usage files.
    pub fn usage_lines(&self) -> Vec<Value> {
        let Ok(entries) = fs::read_dir(self.data().join("usage")) else { return Vec::new() };
        let files = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let text: String = files.collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Pilots outlive their server; not this one's.
        let pattern = self.data().display().to_string();
        drop(Command::new("pkill").args(["-9", "-f", &pattern]).status());
    }
}

fn answers(url: &str) -> bool {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let path = url.trim_start_matches("http://").trim_start_matches(authority);
    http(authority, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Status and body of an answer.
pub fn parted(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, body.to_owned())
}

fn http(authority: &str, request: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(authority).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

impl Server {
    /// A plain request: status and body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        parted(&self.answer("", method, path, token, body))
    }

    /// All that is answered, with its headers, to a plain request with a further header, which ends its line.
    pub fn answer(
        &self,
        header: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> String {
        let authority = format!("127.0.0.1:{}", self.port);
        let bearer =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{bearer}{header}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        http(&authority, &request).unwrap()
    }
}
