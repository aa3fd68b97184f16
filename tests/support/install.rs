//! Programs that tests drive, installed once into the target directory from pinned lists.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Where the programs of a list are installed: for ever the same for the same list.
pub fn installed(list: &str, name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let text = fs::read(repository(list)).unwrap();
    let digest = spinor_model::id::Digest::of(&text).short();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{digest}"));
    // One test installs, the others wait for it.
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("installed");
    if !done.exists() {
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        install(&folder);
        fs::write(done, "").unwrap();
    }
    folder
}

/// Runs a program that must work.
pub fn must(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; these tests need python3-venv, nodejs, npm and curl")
    });
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}

/// Python with the packages of a list.
pub fn python_of(list: &str, name: &str, options: &[&str]) -> PathBuf {
    let folder = installed(list, name, |folder| {
        must(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
        let pip = folder.join("venv/bin/pip");
        must(
            Command::new(pip)
                .args(["install", "--quiet"])
                .args(options)
                .arg("-r")
                .arg(repository(list)),
        );
    });
    folder.join("venv/bin/python")
}
