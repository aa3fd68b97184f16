//! Content-addressed files: sandboxes and components, each stored once.

use crate::StoreError;
use spinor_model::id::Digest;
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};
use tokio::{fs, io::AsyncWriteExt};

/// A directory of blobs, named by digest.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Opens the directory, made if it is missing.
    pub async fn open(root: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(&root).await?;
        Ok(Self { root })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Stores bytes, durably, and says under which digest.
    pub async fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        if fs::try_exists(&path).await? {
            // Whoever takes old content away sees that this is wanted again.
            let there = std::fs::File::options().append(true).open(&path);
            if there.and_then(|file| file.set_modified(SystemTime::now())).is_ok() {
                return Ok(digest);
            }
        }
        let Some(folder) = path.parent() else { return Ok(digest) };
        fs::create_dir_all(folder).await?;
        let draft = path.with_extension(format!("draft{:016x}", unique()));
        let mut file = fs::File::create(&draft).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        fs::rename(&draft, &path).await?;
        fs::File::open(folder).await?.sync_all().await?;
        Ok(digest)
    }

    /// Takes bytes away, if they are there.
    pub async fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        match fs::remove_file(self.path(digest)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes bytes away that nobody has brought for `age`.
    pub async fn remove_older(&self, digest: &Digest, age: Duration) -> Result<(), StoreError> {
        let brought = fs::metadata(self.path(digest)).await.and_then(|file| file.modified());
        match brought {
            Ok(brought) if brought.elapsed().is_ok_and(|old| old >= age) => {
                self.remove(digest).await
            }
            _ => Ok(()),
        }
    }

    /// The bytes, if they are there.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.path(digest)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Two writers of one blob must not share a draft.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_back_what_it_took() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().to_owned()).await.unwrap();
        let digest = blobs.put(b"content").await.unwrap();
        assert_eq!(blobs.put(b"content").await.unwrap(), digest);
        assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), b"content");
        assert_eq!(blobs.get(&Digest::of(b"other")).await.unwrap(), None);
        blobs.remove_older(&digest, Duration::from_secs(60)).await.unwrap();
        assert!(blobs.get(&digest).await.unwrap().is_some(), "it is new");
        blobs.remove_older(&digest, Duration::ZERO).await.unwrap();
        assert!(blobs.get(&digest).await.unwrap().is_none());
    }
}
