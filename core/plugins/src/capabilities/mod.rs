//! What guests may touch. Each capability is one module: what it can do, and its end of the
//! contract. Denied when linked, and again when called.

mod address;
pub mod command;
pub mod credentials;
pub mod directory;
pub mod http;
pub mod identity;
mod log;
pub mod pilot_secrets;
pub mod process;
mod small;
pub mod ssh;
pub mod tape;

use crate::{
    bindings::{host, pure_host},
    state::HostState,
};
use spinor_model::registry::Kind;
use std::collections::BTreeSet;
use wasmtime::component::{HasSelf, Linker};

/// Every capability of the contract, offered here or not: a closed tree.
pub const ALL: &[&str] = &[
    "log",
    "clock",
    "random",
    "kv",
    "http",
    "command",
    "process",
    "ssh",
    "directory",
    "secret",
    "credential",
];

/// Capabilities that this server offers.
pub const OFFERED: &[&str] =
    &["log", "clock", "random", "http", "command", "process", "ssh", "directory", "secret"];

/// Capabilities that plugins of a kind may have.
pub fn allowed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Matching | Kind::Supply | Kind::Handling => &["log"],
        Kind::Computing => &[
            "log",
            "clock",
            "random",
            "kv",
            "http",
            "command",
            "process",
            "ssh",
            "secret",
            "credential",
        ],
        Kind::Accounting => {
            &["log", "clock", "random", "kv", "http", "directory", "secret", "credential"]
        }
    }
}

/// Links what a pure guest may import.
pub fn link_pure(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    pure_host::spinor::host::log::add_to_linker::<_, HasSelf<HostState>>(linker, |s| s)
}

/// Links what an effectful guest was granted, and nothing else.
pub fn link(linker: &mut Linker<HostState>, granted: &BTreeSet<&str>) -> wasmtime::Result<()> {
    use host::spinor::host as h;
    type State = HasSelf<HostState>;
    h::log::add_to_linker::<_, State>(linker, |s| s)?;
    if granted.contains("clock") {
        h::clock::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("random") {
        h::random::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("http") {
        h::http::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("secret") {
        h::secret::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("command") {
        h::command::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("ssh") {
        h::ssh::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("process") {
        h::process::add_to_linker::<_, State>(linker, |s| s)?;
    }
    if granted.contains("directory") {
        h::directory::add_to_linker::<_, State>(linker, |s| s)?;
    }
    Ok(())
}
