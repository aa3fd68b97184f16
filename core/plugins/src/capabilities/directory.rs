//! Capability `directory`: the files of one granted directory. Names are single components, and
//! links are not followed, so nothing outside is reached.

use crate::{
    bindings::host::spinor::host::directory::{DirectoryError, Host},
    state::HostState,
};
use spinor_model::id::Digest;
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

/// One directory, and the bytes it may hold.
#[derive(Debug)]
pub struct DirectoryCapability {
    root: PathBuf,
    max_bytes: u64,
}

type Answer<T> = Result<T, DirectoryError>;

fn other(error: io::Error) -> DirectoryError {
    match error.kind() {
        ErrorKind::NotFound => DirectoryError::NotFound,
        _ => DirectoryError::Other(error.to_string()),
    }
}

impl DirectoryCapability {
    /// Grants `root`, made if it is missing.
    pub fn new(root: PathBuf, max_bytes: u64) -> io::Result<Self> {
        std::fs::create_dir_all(&root)?;
        Ok(Self { root, max_bytes })
    }

    fn path(&self, name: &str) -> Answer<PathBuf> {
        let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        if !plain {
            let text = format!("`{name}` is no plain file name of the granted directory");
            return Err(DirectoryError::Denied(text));
        }
        Ok(self.root.join(name))
    }

    fn open(&self, name: &str, options: &mut OpenOptions) -> Answer<File> {
        let path = self.path(name)?;
        options.custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path).map_err(other)
    }

    fn entries(&self) -> Answer<Vec<String>> {
        let read = std::fs::read_dir(&self.root).map_err(other)?;
        let mut names: Vec<_> =
            read.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn size(&self, name: &str) -> Answer<u64> {
        let file = self.open(name, OpenOptions::new().read(true))?;
        Ok(file.metadata().map_err(other)?.len())
    }

    fn read(&self, name: &str, offset: u64, max: u32) -> Answer<Vec<u8>> {
        let mut file = self.open(name, OpenOptions::new().read(true))?;
        file.seek(SeekFrom::Start(offset)).map_err(other)?;
        let mut content = Vec::new();
        file.take(u64::from(max.min(1 << 20))).read_to_end(&mut content).map_err(other)?;
        Ok(content)
    }

    fn append(&self, name: &str, content: &[u8]) -> Answer<()> {
        let used: u64 = self.entries()?.iter().filter_map(|entry| self.size(entry).ok()).sum();
        if used + content.len() as u64 > self.max_bytes {
            let limit = self.max_bytes >> 20;
            let text =
                format!("the directory would exceed its {limit} MiB (grant `directory.max_mb`)");
            return Err(DirectoryError::Quota(text));
        }
        let mut file = self.open(name, OpenOptions::new().append(true).create(true))?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(other)?;
        File::open(&self.root).and_then(|root| root.sync_all()).map_err(other)
    }

    fn truncate(&self, name: &str, size: u64) -> Answer<()> {
        let file = self.open(name, OpenOptions::new().write(true))?;
        file.set_len(size).and_then(|()| file.sync_all()).map_err(other)
    }
}

impl HostState {
    fn in_directory<
        T: Send + 'static,
        F: FnOnce(&DirectoryCapability) -> Answer<T> + Send + 'static,
    >(
        &self,
        act: F,
    ) -> impl Future<Output = Answer<T>> + Send + use<T, F> {
        let granted = self.capabilities.directory.clone();
        async move {
            let denied =
                || DirectoryError::Denied("capability `directory` is not granted".to_owned());
            let directory = granted.ok_or_else(denied)?;
            let result = tokio::task::spawn_blocking(move || act(&directory)).await;
            result.map_err(|error| DirectoryError::Other(error.to_string()))?
        }
    }
}

impl Host for HostState {
    async fn entries(&mut self) -> wasmtime::Result<Answer<Vec<String>>> {
        let live = self.in_directory(|d| d.entries());
        self.tape.exchange("directory.entries", &(), live).await
    }
    async fn size(&mut self, name: String) -> wasmtime::Result<Answer<u64>> {
        let asked = name.clone();
        let live = self.in_directory(move |d| d.size(&name));
        self.tape.exchange("directory.size", &asked, live).await
    }
    async fn read(
        &mut self,
        name: String,
        offset: u64,
        max: u32,
    ) -> wasmtime::Result<Answer<Vec<u8>>> {
        let asked = (name.clone(), offset, max);
        let live = self.in_directory(move |d| d.read(&name, offset, max));
        self.tape.exchange("directory.read", &asked, live).await
    }
    async fn append(&mut self, name: String, content: Vec<u8>) -> wasmtime::Result<Answer<()>> {
        let asked = (name.clone(), Digest::of(&content));
        let live = self.in_directory(move |d| d.append(&name, &content));
        self.tape.exchange("directory.append", &asked, live).await
    }
    async fn truncate(&mut self, name: String, size: u64) -> wasmtime::Result<Answer<()>> {
        let asked = (name.clone(), size);
        let live = self.in_directory(move |d| d.truncate(&name, size));
        self.tape.exchange("directory.truncate", &asked, live).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::write(&outside, "secret").unwrap();
        let granted = DirectoryCapability::new(dir.path().join("in"), 1 << 20).unwrap();
        for name in ["../outside", "/etc/passwd", "..", "", "a/b"] {
            assert!(matches!(granted.read(name, 0, 9), Err(DirectoryError::Denied(_))), "{name}");
        }
        std::os::unix::fs::symlink(&outside, dir.path().join("in/link")).unwrap();
        assert!(matches!(granted.read("link", 0, 9), Err(DirectoryError::Other(_))));
        assert!(granted.append("link", b"x").is_err());
    }

    #[test]
    fn keeps_its_quota() {
        let dir = tempfile::tempdir().unwrap();
        let granted = DirectoryCapability::new(dir.path().to_owned(), 10).unwrap();
        granted.append("a", b"123456").unwrap();
        assert!(matches!(granted.append("b", b"12345"), Err(DirectoryError::Quota(_))));
        granted.append("a", b"7890").unwrap();
        assert_eq!(granted.read("a", 3, 4).unwrap(), b"4567");
        granted.truncate("a", 2).unwrap();
        assert_eq!(granted.size("a").unwrap(), 2);
    }
}
