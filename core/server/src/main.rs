//! `spinor`: the server, its tools, and the pilot, in one program.

mod administration;
mod cli;
mod client;
mod commands;
mod configuration;
mod credentials;
mod demo;
mod description;
mod downtimes;
mod show;
mod wiring;

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A request is some hundred small allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    if called(spinor_pilot::NAME) {
        return spinor_pilot::main();
    }
    // Another part of the process may have chosen already.
    spinor_plugins::tls::install();
    let cli = cli::Cli::parse();
    end_quietly_without_a_reader();
    // The pilot has a runtime and a log of its own.
    if let cli::Command::RunPilot { configuration } = &cli.command {
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

/// Whether the program was started under a name: workers get it as the pilot.
fn called(name: &str) -> bool {
    let started = std::env::args_os().next().map(std::path::PathBuf::from);
    started.is_some_and(|path| path.file_name() == Some(name.as_ref()))
}

/// A command whose reader has gone, as in `spinor job list | head`, has nothing to tell.
fn end_quietly_without_a_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        tell(panic);
    }));
}
