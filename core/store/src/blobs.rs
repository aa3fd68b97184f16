//! Content-addressed files: sandboxes and components, each stored once, in a directory or in a bucket.

mod bucket;

pub use bucket::{Bucket, BucketSettings, Form};

use crate::StoreError;
use futures::TryStreamExt;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path,
};
use spinor_model::{id::Digest, time::Timestamp};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a directory of this machine, or one that servers share.
    Directory(PathBuf),
    /// In an S3 bucket.
    Bucket(Arc<Bucket>),
}

/// Blobs of one kind, named by digest.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: Path,
    bucket: Option<Arc<Bucket>>,
}

/// What was stored so lately is not stored again.
const LATELY: Duration = Duration::from_secs(1_800);

/// Something that may not be there.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn age(meta: &ObjectMeta) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let stored = u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0);
    now.saturating_sub(Duration::from_millis(stored))
}

impl Blobs {
    /// Those in a folder of a place.
    pub async fn open(place: &Place, folder: &str) -> Result<Self, StoreError> {
        match place {
            Place::Directory(directory) => {
                let directory = directory.join(folder);
                tokio::fs::create_dir_all(&directory).await?;
                let store = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
                Ok(Self { store: Arc::new(store), root: Path::ROOT, bucket: None })
            }
            Place::Bucket(bucket) => Ok(Self {
                store: bucket.store(),
                root: bucket.folder(folder),
                bucket: Some(bucket.clone()),
            }),
        }
    }

    fn path(&self, digest: &Digest) -> Path {
        let name = digest.to_string();
        self.root.clone().join(&name[..2]).join(name)
    }

    /// Stores bytes, durably, and says under which digest.
    pub async fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        let there = found(self.store.head(&path).await)?;
        // Whoever takes old content away sees that this is wanted again.
        if there.is_none_or(|meta| age(&meta) > LATELY) {
            self.store.put(&path, bytes.to_vec().into()).await?;
        }
        Ok(digest)
    }

    /// Takes bytes away, if they are there.
    pub async fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        found(self.store.delete(&self.path(digest)).await).map(drop)
    }

    /// Takes bytes away that nobody has brought for `age`.
    pub async fn remove_older(&self, digest: &Digest, older: Duration) -> Result<(), StoreError> {
        match found(self.store.head(&self.path(digest)).await)? {
            Some(meta) if age(&meta) >= older => self.remove(digest).await,
            _ => Ok(()),
        }
    }

    /// The bytes, if they are there.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&self.path(digest)).await
    }

    async fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(content) = found(self.store.get(path).await)? else { return Ok(None) };
        Ok(Some(content.bytes().await?.into()))
    }

    /// An address by which anyone may download them for a while, past this server, if the place has such.
    pub async fn link(
        &self,
        digest: &Digest,
        valid: Duration,
    ) -> Result<Option<String>, StoreError> {
        match &self.bucket {
            None => Ok(None),
            Some(bucket) => bucket.link(&self.path(digest), valid).await.map(Some),
        }
    }

    /// Whether clients send their files past this server.
    pub fn takes_forms(&self) -> bool {
        self.bucket.is_some()
    }

    fn incoming(&self, ticket: &Digest) -> Path {
        self.root.clone().join("incoming").join(ticket.to_string())
    }

    /// What to send `size` bytes with, past this server, if the place takes such. They wait under
    /// `ticket` until somebody looks at them.
    pub async fn form(
        &self,
        ticket: &Digest,
        size: u64,
        now: Timestamp,
        valid: Duration,
    ) -> Result<Option<Form>, StoreError> {
        match &self.bucket {
            None => Ok(None),
            Some(bucket) => bucket.form(&self.incoming(ticket), size, now, valid).await.map(Some),
        }
    }

    /// What was sent with a form, if it is there and has no more than `max` bytes.
    pub async fn sent(&self, ticket: &Digest, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.takes_forms() {
            return Ok(None);
        }
        let path = self.incoming(ticket);
        match found(self.store.head(&path).await)? {
            Some(meta) if meta.size <= max => self.read(&path).await,
            _ => Ok(None),
        }
    }

    /// Takes away what was sent with a form.
    pub async fn remove_sent(&self, ticket: &Digest) -> Result<(), StoreError> {
        if !self.takes_forms() {
            return Ok(());
        }
        found(self.store.delete(&self.incoming(ticket)).await).map(drop)
    }

    /// Takes away what was sent and never looked at for `older`; how many.
    pub async fn clear_sent(&self, older: Duration) -> Result<u64, StoreError> {
        if !self.takes_forms() {
            return Ok(0);
        }
        let folder = self.root.clone().join("incoming");
        let mut sent = self.store.list(Some(&folder));
        let mut cleared = 0;
        while let Some(meta) = sent.try_next().await? {
            if age(&meta) >= older {
                found(self.store.delete(&meta.location).await)?;
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_back_what_it_took() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let blobs = Blobs::open(&place, "blobs").await.unwrap();
        let digest = blobs.put(b"content").await.unwrap();
        assert_eq!(blobs.put(b"content").await.unwrap(), digest);
        assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), b"content");
        assert_eq!(blobs.get(&Digest::of(b"other")).await.unwrap(), None);
        let name = digest.to_string();
        assert!(directory.path().join("blobs").join(&name[..2]).join(&name).is_file());
        blobs.remove_older(&digest, Duration::from_secs(60)).await.unwrap();
        assert!(blobs.get(&digest).await.unwrap().is_some(), "it is new");
        blobs.remove_older(&digest, Duration::ZERO).await.unwrap();
        assert!(blobs.get(&digest).await.unwrap().is_none());
        blobs.remove(&digest).await.unwrap();
        assert!(blobs.link(&digest, LATELY).await.unwrap().is_none(), "a directory has no links");
    }
}
