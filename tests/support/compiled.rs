//! What one server compiled serves the next: all are of one build, and compile the same components.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const KEY: &str = "keys/compiled.key";

fn shared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// Gives a server that has not started yet what others compiled. It believes it by their key.
pub fn lend(data: &Path) {
    for folder in ["keys", "compiled"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    if fs::copy(shared().join(KEY), data.join(KEY)).is_ok() {
        copy(&shared().join("compiled"), &data.join("compiled")).unwrap();
    }
}

/// Keeps what a server compiled, if it was the first, or had the others' key.
pub fn keep(data: &Path) {
    fs::create_dir_all(shared().join("keys")).unwrap();
    let lock = fs::File::create(shared().join("lock")).unwrap();
    lock.lock().unwrap();
    let own = fs::read(data.join(KEY)).unwrap();
    if !shared().join(KEY).exists() {
        fs::create_dir_all(shared().join("compiled")).unwrap();
        fs::copy(data.join(KEY), shared().join(KEY)).unwrap();
    }
    if fs::read(shared().join(KEY)).unwrap() == own {
        copy(&data.join("compiled"), &shared().join("compiled")).unwrap();
    }
}

/// Copies files that are not there yet, each whole or not at all.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let plain = name.to_str().is_some_and(|name| !name.contains("draft"));
        if plain && !to.join(&name).exists() {
            let draft = to.join(format!("{}.draft{}", name.display(), std::process::id()));
            fs::copy(from.join(&name), &draft)?;
            fs::rename(draft, to.join(&name))?;
        }
    }
    Ok(())
}
