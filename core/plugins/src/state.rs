//! What one call holds: created for it, dropped with it.

use crate::{
    capabilities::{
        command::CommandCapability,
        directory::DirectoryCapability,
        http::{HttpCapability, MAX_REQUESTS},
        pilot_secrets::PilotSecrets,
        process::ProcessCapability,
        ssh::SshCapability,
        tape::Tape,
    },
    limits::{Budget, Limits},
    wasi,
};
use spinor_model::{id::VoName, policy::Observer, time::Clock};
use std::sync::Arc;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView, p2::pipe::MemoryOutputPipe};

/// For whom a plugin is called: labels of logs and spans.
#[derive(Clone)]
pub struct Caller {
    /// The VO; none while a version is being tried.
    pub vo: Option<VoName>,
    /// Plugin and version.
    pub plugin: String,
    /// Who takes note of what it writes.
    pub observer: Arc<dyn Observer>,
}

impl Caller {
    /// The VO's name, or `-`.
    pub fn vo(&self) -> &str {
        self.vo.as_ref().map_or("-", VoName::as_str)
    }
}

/// Capabilities that a binding has.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// The server's time.
    pub clock: Option<Arc<dyn Clock>>,
    /// Whether random bytes are given.
    pub random: bool,
    /// One directory.
    pub directory: Option<Arc<DirectoryCapability>>,
    /// Pilots on this machine.
    pub process: Option<Arc<ProcessCapability>>,
    /// Servers on the network, and secrets for them.
    pub http: Option<Arc<HttpCapability>>,
    /// Programs on this machine.
    pub command: Option<Arc<CommandCapability>>,
    /// Programs on other machines.
    pub ssh: Option<Arc<SshCapability>>,
}

/// A store's data.
pub struct HostState {
    /// For whom.
    pub caller: Arc<Caller>,
    /// What it may touch.
    pub capabilities: Capabilities,
    /// Secrets of the pilots in this call.
    pub secrets: PilotSecrets,
    /// Memory it may have.
    pub budget: Budget,
    /// Log lines it may still write.
    pub log_lines: u32,
    /// Requests it may still send, and programs it may still run.
    pub requests: u32,
    /// What passes between it and the world.
    pub tape: Tape,
    wasi: WasiCtx,
    table: ResourceTable,
    stderr: MemoryOutputPipe,
}

impl HostState {
    /// The state of a call.
    pub fn new(caller: Arc<Caller>, capabilities: Capabilities, limits: &Limits) -> Self {
        let stderr = MemoryOutputPipe::new(4096);
        let mut table = ResourceTable::new();
        table.set_max_capacity(1_000);
        Self {
            caller,
            capabilities,
            secrets: PilotSecrets::default(),
            budget: Budget::new(limits.memory_mb),
            log_lines: 100,
            requests: MAX_REQUESTS,
            tape: Tape::default(),
            wasi: wasi::inert(stderr.clone()),
            table,
            stderr,
        }
    }

    /// Notes in the server's log what of the VO's was used in its name.
    pub fn audit(&self, text: &str) {
        let (vo, plugin) = (self.caller.vo(), &self.caller.plugin);
        tracing::info!(target: "spinor::audit", vo, plugin, "{text}");
    }

    /// What the guest wrote to its standard error, at most its last 500 characters: a panic's
    /// message.
    pub fn last_words(&self) -> String {
        let bytes = self.stderr.contents();
        let text = String::from_utf8_lossy(&bytes).trim().replace('\n', " ");
        let skip = text.chars().count().saturating_sub(500);
        text.chars().skip(skip).collect()
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
