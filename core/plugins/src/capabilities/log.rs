//! Capability `log`: lines with the plugin's name, at a bounded rate.

use crate::{
    bindings::{host::spinor::host::log as effectful, pure_host::spinor::host::log as pure},
    state::HostState,
};
use spinor_model::policy::{GuestLine, LogLevel};

const MAX_LINE: usize = 4096;

impl HostState {
    pub(super) fn log(&mut self, level: LogLevel, message: &str) {
        if self.log_lines == 0 {
            return;
        }
        self.log_lines -= 1;
        self.tell(level, message.chars().take(MAX_LINE).collect());
    }

    /// A line that the VO's people read.
    pub(super) fn tell(&self, level: LogLevel, message: String) {
        let (vo, plugin) = (self.caller.vo(), self.caller.plugin.clone());
        tracing::debug!(target: "spinor::guest", vo, plugin, level = level.as_str(), "{message}");
        if let Some(vo) = self.caller.vo.clone() {
            self.caller.observer.wrote(GuestLine { vo, plugin, level, message });
        }
    }
}

macro_rules! level {
    ($module:ident, $level:expr) => {
        match $level {
            $module::Level::Error => LogLevel::Error,
            $module::Level::Warn => LogLevel::Warn,
            $module::Level::Info => LogLevel::Info,
            $module::Level::Debug | $module::Level::Trace => LogLevel::Debug,
        }
    };
}

impl pure::Host for HostState {
    fn write(&mut self, level: pure::Level, message: String) {
        self.log(level!(pure, level), &message);
    }
}

impl effectful::Host for HostState {
    async fn write(&mut self, level: effectful::Level, message: String) -> wasmtime::Result<()> {
        self.log(level!(effectful, level), &message);
        Ok(())
    }
}
