//! Builds guest crates of this workspace to components, from a build script.
//!
//! Cargo runs inside cargo: with a target directory of its own, and without the outer build's flags
//! and wrappers, which are meant for the host. The target `wasm32-wasip2` makes components by
//! itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The target that makes components.
pub const TARGET: &str = "wasm32-wasip2";

/// Builds `packages` and writes `guests.rs` into `OUT_DIR`: a constant `GUESTS` with each package's
/// name and its component's bytes. `sources` are folders of the workspace that they are made from.
pub fn build(packages: &[&str], sources: &[&str]) {
    let root = workspace_root();
    for source in sources.iter().chain(&["sdk/rust", "wit", "Cargo.toml", "Cargo.lock"]) {
        println!("cargo::rerun-if-changed={}{source}", up(&root));
    }
    if !target_is_installed() {
        fail(&format!("the target {TARGET} is missing: run `rustup target add {TARGET}`"));
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let target_dir = guest_target_dir(&out);
    run_cargo(&root, &target_dir, packages);
    let listed = packages.iter().map(|package| {
        let file = target_dir.join(TARGET).join("guest").join(package.replace('-', "_"));
        let file = file.with_extension("wasm");
        format!("    ({package:?}, include_bytes!({:?})),\n", file.display().to_string())
    });
    let code = format!(
        "/// Each guest's package and component.\npub const GUESTS: &[(&str, &[u8])] = &[\n{}];\n",
        listed.collect::<String>()
    );
    if let Err(error) = std::fs::write(out.join("guests.rs"), code) {
        fail(&format!("cannot write guests.rs: {error}"));
    }
}

/// The way to the workspace from the package that is built. Relative, as a target directory may be shared
/// by several clones: what changed in one must be seen from there.
fn up(root: &Path) -> String {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let depth = package.strip_prefix(root).map_or(0, |inside| inside.components().count());
    "../".repeat(depth)
}

/// Fails the build with one line: cargo does so for `cargo::error`, and adds a dump to an exit code.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(0);
}

/// Found when the build script runs: a target directory may be shared by several clones, and what was
/// compiled in one must not point there from another.
fn workspace_root() -> PathBuf {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.map(Path::to_owned).unwrap_or(package)
}

/// One for all build scripts of this target directory, so that the SDK is built once.
fn guest_target_dir(out: &Path) -> PathBuf {
    out.ancestors().nth(4).unwrap_or(out).join("guests")
}

fn target_is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

fn run_cargo(root: &Path, target_dir: &Path, packages: &[&str]) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--profile", "guest", "--target", TARGET]);
    command.arg("--target-dir").arg(target_dir).arg("--locked");
    for package in packages {
        command.args(["--package", package]);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let for_the_host =
            ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOCFLAGS"];
        let outer = text.starts_with("CARGO_") && text != "CARGO_HOME" && !text.contains("_NET_");
        if outer || for_the_host.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("building the guests failed ({status}); see above")),
        Err(error) => fail(&format!("cannot run cargo: {error}")),
    }
}
