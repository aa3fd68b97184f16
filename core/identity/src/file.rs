//! Files with secrets: whole or not at all, and never readable by others.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

fn draft(file: &Path, content: &[u8]) -> io::Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    drop(fs::remove_file(&draft));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    out.write_all(content)?;
    out.sync_all()?;
    Ok(draft)
}

/// Puts content in a file's place.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    fs::rename(draft(file, content)?, file)
}

/// Makes a file that is missing; of several servers that start together, the first one's stays.
pub fn make_once(file: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft(file, content)?;
    let made = match fs::hard_link(&draft, file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    fs::remove_file(&draft)?;
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn who_comes_second_finds_the_firsts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys/a.key");
        make_once(&file, b"first").unwrap();
        make_once(&file, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"first");
        replace(&file, b"third").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"third");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
