//! The server's configuration: a TOML file, and the command line over it.

use crate::{cli::Serve, downtimes::Feed};
use anyhow::Context;
use axum::http::HeaderValue;
use serde::Deserialize;
use spinor_lifecycle::Pace;
use spinor_plugins::compiler::CompileLimits;
use spinor_store::{BucketSettings, sql::Database};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The configuration file. Unknown keys are mistakes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    listen: Option<String>,
    url: Option<String>,
    database: Option<String>,
    files: Option<PathBuf>,
    pace: FilePace,
    plugins: FilePlugins,
    auth: FileAuth,
    pilot: FilePilot,
    downtimes: Option<Feed>,
    /// A bucket for sandboxes and components.
    s3: Option<BucketSettings>,
    /// To whom weaknesses are reported, e.g. `mailto:security@example.org`.
    security_contact: Option<String>,
}

/// How people log in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileAuth {
    /// Addresses that clients with a browser may ask people to be sent back to.
    redirects: Vec<String>,
    /// Origins (`https://HOST`) of other web pages that may use this server from browsers.
    origins: Vec<String>,
}

impl FileAuth {
    fn origins(&self) -> anyhow::Result<Vec<HeaderValue>> {
        let origin = |text: &String| {
            let url = reqwest::Url::parse(text).ok().filter(|url| url.origin().is_tuple());
            let is_bare = url.is_some_and(|url| url.origin().ascii_serialization() == *text);
            let value = HeaderValue::from_str(text).ok().filter(|_| is_bare);
            value.with_context(|| {
                format!(
                    "auth.origins: `{text}` is no origin: write https://HOST, or https://HOST:PORT"
                )
            })
        };
        self.origins.iter().map(origin).collect()
    }
}

/// The pilot.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilePilot {
    /// The program that workers fetch.
    program: Option<PathBuf>,
}

/// What plugins may use before they are bound.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilePlugins {
    compile_seconds: Option<u64>,
    compile_memory_mb: Option<u64>,
}

/// How fast things move, in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilePace {
    heartbeat: Option<f64>,
    poll: Option<f64>,
    idle: Option<f64>,
    supply: Option<f64>,
    tick: Option<f64>,
}

/// What the server runs under.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Directory of everything it keeps.
    pub data: PathBuf,
    /// Address to listen on.
    pub listen: String,
    /// Address that pilots reach it under, if it is not the listening one.
    pub url: Option<String>,
    /// The database: a file in the data directory, or a PostgreSQL server's that others share.
    pub database: Database,
    /// Directory of sandboxes, components and the key that signs tokens, which servers on one
    /// database share.
    pub files: PathBuf,
    /// A bucket for sandboxes and components, instead of that directory.
    pub s3: Option<BucketSettings>,
    /// Where downtimes are told.
    pub downtimes: Option<Feed>,
    /// Addresses that clients with a browser may ask people to be sent back to.
    pub redirects: Vec<String>,
    /// Origins of other web pages that may use this server from browsers.
    pub origins: Vec<HeaderValue>,
    /// To whom weaknesses are reported.
    pub security_contact: Option<String>,
    /// How fast things move.
    pub pace: Pace,
    /// Command that makes a pilot; its configuration's path follows.
    pub pilot: Vec<String>,
    /// The pilot program that workers fetch.
    pub pilot_program: PathBuf,
    /// Command that compiles a component; what for, and its memory, follow.
    pub compiler: Vec<String>,
    /// What a compilation may use.
    pub compile: CompileLimits,
}

impl Configuration {
    /// What serves on a free port of this machine over a data directory, and nothing else.
    pub fn plain(data: &Path, url: Option<String>) -> anyhow::Result<Self> {
        Ok(Self {
            data: data.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            url: None,
            database: database(data, url)?,
            files: data.to_owned(),
            s3: None,
            downtimes: None,
            redirects: Vec::new(),
            origins: Vec::new(),
            security_contact: None,
            pace: Pace::default(),
            pilot: own("run-pilot")?,
            pilot_program: pilot_program()?,
            compiler: own("compile")?,
            compile: CompileLimits::default(),
        })
    }

    /// The command line over the file over the defaults.
    pub fn read(serve: Serve) -> anyhow::Result<Self> {
        let file = match &serve.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        let data = serve.data.or(file.data).unwrap_or_else(|| "spinor-data".into());
        let data = made(data)?;
        let shared = database(&data, serve.database.or(file.database))?;
        Ok(Self {
            database: shared,
            files: made(serve.files.or(file.files).unwrap_or_else(|| data.clone()))?,
            data,
            listen: serve.listen.or(file.listen).unwrap_or_else(|| "127.0.0.1:8085".to_owned()),
            url: serve.url.or(file.url),
            s3: file.s3,
            downtimes: file.downtimes.map(Feed::checked).transpose()?,
            origins: file.auth.origins()?,
            redirects: file.auth.redirects,
            security_contact: file.security_contact,
            pace: file.pace.over(Pace::default())?,
            pilot: own("run-pilot")?,
            pilot_program: file.pilot.program.map_or_else(pilot_program, Ok)?,
            compiler: own("compile")?,
            compile: file.plugins.limits(),
        })
    }
}

/// The pilot program beside this one if there is one; else this one, which is a pilot under that name.
fn pilot_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("spinor-pilot");
    Ok(if beside.is_file() { beside } else { own })
}

fn made(directory: PathBuf) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.canonicalize()?)
}

/// The database that a URL names; without one, the file in the data directory.
pub fn database(data: &Path, url: Option<String>) -> anyhow::Result<Database> {
    match url {
        None => Ok(Database::Sqlite(data.join("spinor.db"))),
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Database::Postgres(url))
        }
        Some(url) => anyhow::bail!(
            "database `{url}`: give postgres://USER@HOST/DATABASE, or nothing for a file in the data directory"
        ),
    }
}

/// This very program, as something else.
pub fn own(command: &str) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe()?;
    Ok(vec![program.display().to_string(), command.to_owned()])
}

impl FilePlugins {
    fn limits(&self) -> CompileLimits {
        let default = CompileLimits::default();
        CompileLimits {
            seconds: self.compile_seconds.unwrap_or(default.seconds),
            memory_mb: self.compile_memory_mb.unwrap_or(default.memory_mb),
        }
    }
}

impl FilePace {
    fn over(&self, default: Pace) -> anyhow::Result<Pace> {
        let seconds = |name: &str, given: Option<f64>, default: Duration| match given {
            None => Ok(default),
            Some(s) if s > 0.0 && s < 86_400.0 => Ok(Duration::from_secs_f64(s)),
            Some(s) => {
                anyhow::bail!("pace.{name} is {s}: give seconds, more than 0, less than a day")
            }
        };
        Ok(Pace {
            heartbeat: seconds("heartbeat", self.heartbeat, default.heartbeat)?,
            poll: seconds("poll", self.poll, default.poll)?,
            idle: seconds("idle", self.idle, default.idle)?,
            supply: seconds("supply", self.supply, default.supply)?,
            tick: seconds("tick", self.tick, default.tick)?,
        })
    }
}
