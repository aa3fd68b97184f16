//! An OpenID provider, and DiracX's clients: installed once into the target directory, from the lists in
//! `tests/diracx`.
#![allow(clippy::unwrap_used, dead_code)]

use crate::{
    install::{installed, must, python_of, repository},
    support::{Server, free_port},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The secret that this server has at the provider.
pub const SECRET: &str = "a-secret-of-the-test";

/// Where clients with a browser may be sent back to, in these tests.
pub const REDIRECT: &str = "http://127.0.0.1:18999/cb";

/// The scripts.
pub fn kit() -> PathBuf {
    repository("tests/diracx")
}

/// Python with DiracX's clients.
pub fn python() -> PathBuf {
    python_of("tests/diracx/requirements.txt", "diracx-clients", &[])
}

/// A provider that runs until it is dropped.
pub struct Provider {
    /// Its address.
    pub issuer: String,
    child: Child,
}

impl Provider {
    /// Starts one that sends people back to `server`.
    pub fn start(server: &str) -> Self {
        Self::start_on(free_port(), server, None)
    }

    /// Starts one on a port; on https, if there is a file with a certificate of `localhost` and its key.
    pub fn start_on(port: u16, server: &str, tls: Option<&Path>) -> Self {
        let modules =
            installed("tests/diracx/provider/package-lock.json", "diracx-provider", |folder| {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(kit().join("provider").join(file), folder.join(file)).unwrap();
                }
                must(
                    Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder),
                );
            });
        fs::copy(kit().join("provider/server.mjs"), modules.join("server.mjs")).unwrap();
        let back = ["device", "authorize"].map(|flow| format!("{server}/api/auth/{flow}/complete"));
        let mut command = Command::new("node");
        if let Some(file) = tls {
            command.env("TLS", file);
        }
        let child = command
            .arg(modules.join("server.mjs"))
            .env("PORT", port.to_string())
            .env("CLIENT_SECRET", SECRET)
            .env("CLIENT_TTL", "6")
            .env("REDIRECT_URIS", back.join(","))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let issuer = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let provider = Self { issuer, child };
        let started = Instant::now();
        while provider.control("GET", "users", "").is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "the provider does not start");
            sleep(Duration::from_millis(50));
        }
        provider
    }

    /// Changes people or keys while it runs.
    pub fn control(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let url = format!("{}/test/{path}", self.issuer);
        let output = Command::new("curl").args(["-ksf", "-X", method, "-d", body, &url]).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    }

    /// A VO whose people log in there, and whose jobs run on this machine.
    pub fn vo(&self, vo: &str, sites: bool) -> String {
        let ce = r#"
[sites.HERE]
[ces.here]
site = "HERE"
backend = { plugin = "computing/local", grants.process.max = 1 }
queues.all = { cores = 2, memory_mb = 2048, wall_time = 172800, max_pilots = 1 }
"#;
        format!(
            r#"
vo = "{vo}"
default_group = "user"
[identity]
issuer = "{}"
client_id = "spinor"
[support]
email = "help@{vo}"
[groups.user]
entitlements = ["urn:mace:egi.eu:group:{vo}:role=member"]
[groups.admin]
entitlements = ["urn:mace:egi.eu:group:{vo}:role=admin"]
properties = ["JobAdministrator", "ServiceAdministrator"]
[groups.pilot]
entitlements = ["urn:mace:egi.eu:group:{vo}:role=admin"]
properties = ["GenericPilot"]
{}
[matching]
plugin = "matching/standard"
[handling.User]
plugin = "handling/executable"
[handling.Test]
plugin = "handling/executable"
"#,
            self.issuer,
            if sites { ce } else { "" }
        )
    }

    /// A server with two VOs whose people log in there.
    pub fn with_server() -> (Self, Server) {
        Self::with_server_in("", &[])
    }

    /// The same, with more configuration and an environment.
    pub fn with_server_in(configuration: &str, environment: &[(&str, &str)]) -> (Self, Server) {
        let configuration = format!("[auth]\nredirects = [\"{REDIRECT}\"]\n{configuration}");
        let server = Server::start_in(&configuration, environment);
        let provider = Self::start(&server.url());
        for (vo, sites) in [("vo.spinor.test", true), ("other.spinor.test", false)] {
            let folder = server.data().join("secrets").join(vo);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("identity"), SECRET).unwrap();
            server.apply(&provider.vo(vo, sites)).unwrap();
        }
        (provider, server)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs one of the scripts; what it printed, if it was content.
pub fn script(server: &Server, name: &str, arguments: &[&str]) -> Result<String, String> {
    script_of(&python(), server, name, arguments)
}

/// Runs one of the scripts with a Python of its own.
pub fn script_of(
    python: &Path,
    server: &Server,
    name: &str,
    arguments: &[&str],
) -> Result<String, String> {
    let output = Command::new(python)
        .arg(kit().join(name))
        .args(["--url", &server.url()])
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(server.scratch())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Logs somebody in by device flow; their credentials' file.
pub fn login(server: &Server, user: &str, group: &str) -> String {
    let file = server.scratch().join(format!("{user}-{group}.json")).display().to_string();
    let arguments = ["--user", user, "--group", group, "--credentials", &file];
    script(server, "login.py", &arguments)
        .unwrap_or_else(|text| panic!("{text}\n{}", server.log()));
    file
}

/// The command `dirac`, from login to outputs.
pub fn every_command(server: &Server) {
    let told = script(server, "cli.py", &["--user", "alice", "--wait-done", "120"]);
    println!("{}", told.unwrap_or_else(|text| panic!("{text}\n{}", server.log())));
}

/// Every operation of DiracX's Python client.
pub fn every_operation(server: &Server) {
    let told = script(server, "operations.py", &borrowed(&logins(server)));
    println!("{}", told.unwrap_or_else(|text| panic!("{text}\n{}", server.log())));
}

/// Logs in a user, an administrator and a pilot: arguments for the scripts.
pub fn logins(server: &Server) -> Vec<String> {
    let people =
        [("user", "alice", "user"), ("admin", "adam", "admin"), ("pilot", "adam", "pilot")];
    let arguments = people
        .map(|(role, user, group)| [format!("--{role}-credentials"), login(server, user, group)]);
    arguments.into_iter().flatten().collect()
}

/// Arguments as commands take them.
pub fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
