//! `spinor-pilot CONFIGURATION`: the pilot as a program of its own.

fn main() -> std::process::ExitCode {
    spinor_pilot::main()
}
