//! Compilation, away from the server: Cranelift over bytes that a stranger sent may take minutes and
//! gigabytes. It runs in a child process with limits, at low priority, one at a time for each VO.

use crate::engine::Engines;
use spinor_model::id::VoName;
use std::{
    collections::HashMap,
    io::{Read, Write},
    process::Stdio,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore, time::timeout};
use wasmtime::Engine;

/// Which engine compiled code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Matching and handling.
    Pure,
    /// Computing and accounting.
    Effectful,
}

impl Sort {
    /// Its name on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Effectful => "effectful",
        }
    }

    /// Its engine.
    pub fn engine(self, engines: &Engines) -> &Engine {
        match self {
            Self::Pure => &engines.pure,
            Self::Effectful => &engines.effectful,
        }
    }
}

impl FromStr for Sort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Pure, Self::Effectful].into_iter().find(|sort| sort.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is neither pure nor effectful"))
    }
}

/// What a compilation may use.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Seconds of wall time.
    pub seconds: u64,
    /// MiB of memory.
    pub memory_mb: u64,
}

impl Default for CompileLimits {
    /// A JavaScript component takes Cranelift some 20 s on a free core, and 1 GiB.
    fn default() -> Self {
        Self { seconds: 180, memory_mb: 2048 }
    }
}

/// Who compiles.
pub struct Compiler {
    /// The command of a child process, to which the sort and the MiB are added; none: this process.
    child: Option<Vec<String>>,
    limits: CompileLimits,
    slots: Mutex<HashMap<Option<VoName>, Arc<Semaphore>>>,
}

impl Compiler {
    /// In this process: for tests and tools, which compile what they trust.
    pub fn here() -> Self {
        Self { child: None, limits: CompileLimits::default(), slots: Mutex::default() }
    }

    /// In child processes.
    pub fn child(command: Vec<String>, limits: CompileLimits) -> Self {
        Self { child: Some(command), limits, slots: Mutex::default() }
    }

    /// Compiles a component, for one VO at a time.
    pub async fn compile(
        &self,
        engine: &Engine,
        sort: Sort,
        bytes: &[u8],
        owner: Option<&VoName>,
    ) -> Result<Vec<u8>, String> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Semaphore::new(1));
            slots.entry(owner.cloned()).or_insert_with(fresh).clone()
        };
        let _turn = slot.acquire().await.map_err(|error| error.to_string())?;
        match &self.child {
            None => engine.precompile_component(bytes).map_err(|error| short(&error.to_string())),
            Some(command) => self.in_child(command, sort, bytes).await,
        }
    }

    async fn in_child(
        &self,
        command: &[String],
        sort: Sort,
        bytes: &[u8],
    ) -> Result<Vec<u8>, String> {
        let [program, arguments @ ..] = command else { return Err("no compiler".to_owned()) };
        let CompileLimits { seconds, memory_mb } = self.limits;
        let io = |error: std::io::Error| format!("the compiler could not be run: {error}");
        let mut child = Command::new(program)
            .args(arguments)
            .args([sort.as_str(), &memory_mb.to_string()])
            .env_clear()
            .env("RAYON_NUM_THREADS", threads().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(io)?;
        let (mut input, bytes) = (child.stdin.take(), bytes.to_vec());
        let feed = tokio::spawn(async move {
            if let Some(input) = &mut input {
                drop(input.write_all(&bytes).await);
            }
        });
        let output = timeout(Duration::from_secs(seconds), child.wait_with_output()).await;
        feed.abort();
        let output = output
            .map_err(|_| format!("takes more than {seconds} s (limit `plugins.compile_seconds`)"))?
            .map_err(io)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = short(&String::from_utf8_lossy(&output.stderr));
        Err(match output.status.code() {
            Some(1) if !said.is_empty() => said,
            _ => format!(
                "takes more than {memory_mb} MiB of memory (limit `plugins.compile_memory_mb`), or breaks the compiler: {}; {said}",
                output.status
            ),
        })
    }
}

/// Half of the machine is left to those who work.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

/// The child's side: a component from standard input, its code to standard output.
pub fn compile_input(sort: Sort) -> Result<(), String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let engines = Engines::new().map_err(|error| error.to_string())?;
    let code = sort.engine(&engines).precompile_component(&bytes);
    let code = code.map_err(|error| format!("{error:#}"))?;
    std::io::stdout().write_all(&code).map_err(|error| error.to_string())
}

fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(600).collect()
}
