//! Who may use which sandbox.

use super::{SqliteStore, rows};
use crate::{SandboxStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};

#[async_trait]
impl SandboxStore for SqliteStore {
    async fn add_sandbox(
        &self,
        vo: &VoName,
        owner: &UserName,
        digest: Digest,
        size: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (vo, owner) = (vo.clone(), owner.clone());
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("INSERT INTO sandboxes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
                    .bind(vo.as_str())
                    .bind(digest.to_string())
                    .bind(size as i64)
                    .bind(owner.as_str())
                    .bind(now.0)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn sandbox_owner(
        &self,
        vo: &VoName,
        digest: Digest,
    ) -> Result<Option<UserName>, StoreError> {
        let found = sqlx::query("SELECT owner FROM sandboxes WHERE vo = ? AND digest = ?")
            .bind(vo.as_str())
            .bind(digest.to_string())
            .fetch_optional(&self.readers)
            .await?;
        found.map(|row| rows::parsed(&row, "owner")).transpose()
    }
}
