//! `spinor-pilot CONFIGURATION`: the pilot as a program of its own.

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    match std::env::args_os().nth(1).map(PathBuf::from) {
        Some(configuration) => spinor_pilot::run(&configuration),
        None => {
            eprintln!("usage: spinor-pilot CONFIGURATION (the file that the server wrote for it)");
            ExitCode::from(2)
        }
    }
}
