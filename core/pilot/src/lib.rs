//! The small program on the worker. It offers its slot honestly, asks for work, fills its cores
//! with several jobs of one owner, each in a directory and a process group of its own under wall
//! and memory limits, and brings back results. It speaks HTTP, or where its worker reaches no network, by files
//! that others carry; and it outlives the server: while
//! none answers, payloads run on and results wait.

mod cgroup;
mod channel;
mod client;
mod configuration;
mod image;
mod isolation;
mod launch;
mod means;
mod payload;
mod process;
pub mod sandbox;
mod session;
mod share;
mod slot;
mod start;
mod tokens;
mod work;

pub use image::protocol;
pub use launch::NAME;

use configuration::Configuration;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code of a pilot whose configuration or secret is not taken.
const REFUSED: u8 = 2;
/// Exit code of a pilot that was cut off from its server for too long.
const CUT_OFF: u8 = 3;

/// What the program does: its one argument is the configuration's path; or it becomes a payload.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == launch::WORD => launch::launch(arguments),
        Some(configuration) => run(&PathBuf::from(configuration)),
        None => {
            eprintln!("usage: spinor-pilot CONFIGURATION (the file that the server wrote for it)");
            ExitCode::from(2)
        }
    }
}

/// Runs a pilot until its life is over. `configuration` lies in the directory that is its own.
pub fn run(configuration: &Path) -> ExitCode {
    let home = configuration.parent().unwrap_or(Path::new(".")).to_owned();
    let session = match session::Session::begin(&home) {
        Ok(session) => session,
        Err(error) => {
            eprintln!("pilot: {error:#}");
            return ExitCode::from(REFUSED);
        }
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let code = match live(configuration) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            if error.is::<client::CutOff>() { CUT_OFF } else { REFUSED }
        }
    };
    session.end(code);
    ExitCode::from(code)
}

fn live(configuration: &Path) -> anyhow::Result<()> {
    let configuration = Configuration::read(configuration)?;
    // Another part of the process may have chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work::work(configuration))
}
