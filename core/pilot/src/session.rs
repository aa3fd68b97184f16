//! A pilot's session: it starts at most once for its directory, detaches from whoever started it,
//! says who it is, and leaves its exit code.

use anyhow::Context;
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

/// A pilot that has begun.
pub struct Session {
    home: PathBuf,
}

impl Session {
    /// Begins, unless another has begun in this directory or was barred from it.
    pub fn begin(home: &Path) -> anyhow::Result<Self> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(home.join("claim"))
            .context("this pilot has been started before, or was given up")?;
        // Fails only where it is a leader already, and then it is detached.
        let _ = nix::unistd::setsid();
        let identity = serde_json::json!({
            "pid": std::process::id(),
            "start_time": start_time()?,
            "boot_id": fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim(),
        });
        write(&home.join("process.json"), &identity.to_string())?;
        Ok(Self { home: home.to_owned() })
    }

    /// Leaves its exit code.
    pub fn end(&self, code: u8) {
        if let Err(error) = write(&self.home.join("exit-code"), &code.to_string()) {
            tracing::error!(%error, "the exit code could not be left");
        }
    }
}

fn write(file: &Path, content: &str) -> std::io::Result<()> {
    let draft = file.with_extension("draft");
    fs::write(&draft, content)?;
    fs::rename(draft, file)
}

/// Field 22 of `/proc/self/stat`: start time in clock ticks since boot.
fn start_time() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let after_name = text.rsplit_once(") ").context("unexpected /proc/self/stat")?.1;
    let field = after_name.split(' ').nth(19).context("unexpected /proc/self/stat")?;
    Ok(field.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_once() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::begin(home.path()).unwrap();
        assert!(Session::begin(home.path()).is_err());
        session.end(3);
        assert_eq!(fs::read_to_string(home.path().join("exit-code")).unwrap(), "3");
        assert!(home.path().join("process.json").exists());
    }
}
