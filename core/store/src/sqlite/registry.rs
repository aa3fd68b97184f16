//! VOs' documents and components.

use super::{SqliteStore, rows};
use crate::{RegistryStore, StoreError, StoredComponent, StoredDocument};
use async_trait::async_trait;
use spinor_model::{id::Digest, registry::VoDocument, time::Timestamp};
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::BTreeMap;

fn document(row: &SqliteRow) -> Result<StoredDocument, StoreError> {
    Ok(StoredDocument {
        document: rows::json(row, "document")?,
        revision: row.try_get("revision")?,
        resolutions: rows::json(row, "resolutions")?,
    })
}

#[async_trait]
impl RegistryStore for SqliteStore {
    async fn add_component(
        &self,
        digest: Digest,
        size: u64,
        source: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let source = source.to_owned();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("INSERT INTO components VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
                    .bind(digest.to_string())
                    .bind(size as i64)
                    .bind(source)
                    .bind(now.0)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn components(&self) -> Result<Vec<StoredComponent>, StoreError> {
        let found = sqlx::query("SELECT digest, source FROM components ORDER BY added, rowid");
        let component = |row| {
            let source = Row::try_get(row, "source")?;
            Ok(StoredComponent { digest: rows::parsed(row, "digest")?, source })
        };
        found.fetch_all(&self.readers).await?.iter().map(component).collect()
    }

    async fn apply_document(
        &self,
        document: &VoDocument,
        resolutions: &BTreeMap<String, Digest>,
        author: &str,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let vo = document.vo.clone();
        let document = rows::to_json(document)?;
        let (resolutions, author) = (rows::to_json(resolutions)?, author.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let row = sqlx::query(
                    "INSERT INTO documents (vo, revision, document, resolutions, author, applied)
                     SELECT ?, coalesce(max(revision), 0) + 1, ?, ?, ?, ? FROM documents
                     WHERE vo = ? RETURNING revision",
                )
                .bind(vo.as_str())
                .bind(document)
                .bind(resolutions)
                .bind(author)
                .bind(now.0)
                .bind(vo.as_str())
                .fetch_one(c)
                .await?;
                Ok(row.try_get("revision")?)
            })
        })
        .await
    }

    async fn revisions(&self) -> Result<Vec<StoredDocument>, StoreError> {
        let found = sqlx::query("SELECT * FROM documents ORDER BY vo, revision");
        found.fetch_all(&self.readers).await?.iter().map(document).collect()
    }

    async fn documents(&self) -> Result<Vec<StoredDocument>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM documents d WHERE revision =
                (SELECT max(revision) FROM documents WHERE vo = d.vo) ORDER BY vo",
        );
        found.fetch_all(&self.readers).await?.iter().map(document).collect()
    }

    async fn server_alive(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.write(move |c| {
            Box::pin(async move {
                let before = sqlx::query("SELECT value FROM meta WHERE key = 'server-alive'")
                    .fetch_optional(&mut *c)
                    .await?;
                sqlx::query(
                    "INSERT INTO meta VALUES ('server-alive', ?)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )
                .bind(now.0.to_string())
                .execute(c)
                .await?;
                let before = before.map(|row| rows::parsed::<i64>(&row, "value")).transpose()?;
                Ok(before.map(Timestamp))
            })
        })
        .await
    }
}
