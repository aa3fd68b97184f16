//! Who may use which sandbox.

use super::SqlStore;
use crate::{NewSandbox, SandboxStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};

#[async_trait]
impl SandboxStore for SqlStore {
    async fn add_sandbox(&self, new: NewSandbox, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO sandboxes (vo, digest, size, owner, uploaded, grp, format)
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                )
                .bind(new.vo.as_str())
                .bind(new.digest.to_string())
                .bind(new.size as i64)
                .bind(new.owner.map_or(String::new(), |owner| owner.to_string()))
                .bind(now.0)
                .bind(new.group.map_or(String::new(), |group| group.to_string()))
                .bind(new.format.as_str())
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
