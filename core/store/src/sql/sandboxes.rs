//! Who may use which sandbox.

use super::SqlStore;
use crate::{SandboxStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};

#[async_trait]
impl SandboxStore for SqlStore {
    async fn add_sandbox(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        digest: Digest,
        size: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (vo, owner) = (vo.clone(), owner.map_or(String::new(), ToString::to_string));
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO sandboxes VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                )
                .bind(vo.as_str())
                .bind(digest.to_string())
                .bind(size as i64)
                .bind(owner)
                .bind(now.0)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn has_sandbox(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        digest: Digest,
    ) -> Result<bool, StoreError> {
        let owner = owner.map(ToString::to_string);
        let found = sqlx::query(
            "SELECT 1 FROM sandboxes WHERE vo = $1 AND digest = $2 AND owner = coalesce($3, owner)",
        );
        let found = found.bind(vo.as_str()).bind(digest.to_string()).bind(owner);
        Ok(found.fetch_optional(&self.readers).await?.is_some())
    }
}
