use async_trait::async_trait;
use spinor_model::policy::{PolicyError, Spool, SpoolFile};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Files beside pilots, in memory.
#[derive(Default)]
pub struct TwinSpool(Mutex<BTreeMap<SpoolFile, Vec<u8>>>);

impl TwinSpool {
    /// All of them.
    pub fn files(&self) -> MutexGuard<'_, BTreeMap<SpoolFile, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Spool for TwinSpool {
    async fn list(&self) -> Result<Vec<(SpoolFile, u64)>, PolicyError> {
        Ok(self.files().iter().map(|(file, bytes)| (file.clone(), bytes.len() as u64)).collect())
    }

    async fn read(&self, file: &SpoolFile, offset: u64, max: u32) -> Result<Vec<u8>, PolicyError> {
        let files = self.files();
        let bytes = files.get(file).map(Vec::as_slice).unwrap_or_default();
        Ok(bytes.iter().skip(offset as usize).take(max as usize).copied().collect())
    }

    async fn write(
        &self,
        file: &SpoolFile,
        offset: u64,
        content: Vec<u8>,
    ) -> Result<(), PolicyError> {
        let mut files = self.files();
        let bytes = files.entry(file.clone()).or_default();
        bytes.truncate(offset as usize);
        bytes.extend(content);
        Ok(())
    }

    async fn remove(&self, file: &SpoolFile) -> Result<(), PolicyError> {
        self.files().remove(file);
        Ok(())
    }
}
