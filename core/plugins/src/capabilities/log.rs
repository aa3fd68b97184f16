//! Capability `log`: lines with the plugin's name, at a bounded rate.

use crate::{
    bindings::{host::spinor::host::log as effectful, pure_host::spinor::host::log as pure},
    state::HostState,
};

const MAX_LINE: usize = 4096;

impl HostState {
    fn log(&mut self, level: tracing::Level, message: &str) {
        if self.log_lines == 0 {
            return;
        }
        self.log_lines -= 1;
        let (vo, plugin) = (self.caller.vo(), &self.caller.plugin);
        let message: String = message.chars().take(MAX_LINE).collect();
        match level {
            tracing::Level::ERROR => {
                tracing::error!(target: "spinor::guest", vo, plugin, "{message}")
            }
            tracing::Level::WARN => {
                tracing::warn!(target: "spinor::guest", vo, plugin, "{message}")
            }
            tracing::Level::INFO => {
                tracing::info!(target: "spinor::guest", vo, plugin, "{message}")
            }
            _ => tracing::debug!(target: "spinor::guest", vo, plugin, "{message}"),
        }
    }
}

macro_rules! level {
    ($module:ident, $level:expr) => {
        match $level {
            $module::Level::Error => tracing::Level::ERROR,
            $module::Level::Warn => tracing::Level::WARN,
            $module::Level::Info => tracing::Level::INFO,
            $module::Level::Debug | $module::Level::Trace => tracing::Level::DEBUG,
        }
    };
}

impl pure::Host for HostState {
    fn write(&mut self, level: pure::Level, message: String) {
        self.log(level!(pure, level), &message);
    }
}

impl effectful::Host for HostState {
    async fn write(&mut self, level: effectful::Level, message: String) {
        self.log(level!(effectful, level), &message);
    }
}
