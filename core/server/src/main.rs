//! `spinor`: the server, its tools, and the pilot, in one program.

mod administration;
mod cli;
mod client;
mod commands;
mod configuration;
mod credentials;
mod demo;
mod description;
mod show;
mod wiring;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Another part of the process may have chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = cli::Cli::parse();
    // A command whose reader has gone, as in `spinor job list | head`, ends quietly; a server goes on.
    if !matches!(
        cli.command,
        cli::Command::Serve { .. } | cli::Command::Demo { .. } | cli::Command::Pilot { .. }
    ) {
        sigpipe::reset();
    }
    // The pilot has a runtime and a log of its own.
    if let cli::Command::Pilot { configuration } = &cli.command {
        return spinor_pilot::run(configuration);
    }
    commands::log(&cli);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("spinor: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("spinor: {error:#}");
            commands::exit_code(&error)
        }
    }
}
