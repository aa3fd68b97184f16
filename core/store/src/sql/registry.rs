//! VOs' documents and components.

use super::{SqlStore, rows};
use crate::{Change, NewComponent, RegistryStore, StoreError, StoredComponent, StoredDocument};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, VoName},
    registry::{Installation, VoDocument},
    time::Timestamp,
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::collections::BTreeMap;

fn document(row: &AnyRow) -> Result<StoredDocument, StoreError> {
    // Revisions from before anything could be inherited.
    let inherits = !row.try_get::<String, _>("effective")?.is_empty();
    Ok(StoredDocument {
        document: rows::json(row, "document")?,
        effective: rows::json(row, if inherits { "effective" } else { "document" })?,
        revision: row.try_get("revision")?,
        resolutions: rows::json(row, "resolutions")?,
        change: Change {
            author: row.try_get("author")?,
            action: row.try_get("action")?,
            note: row.try_get("note")?,
        },
        applied: rows::time(row, "applied")?,
    })
}

async fn add_component(
    c: &mut AnyConnection,
    new: NewComponent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let digest = new.digest.to_string();
    sqlx::query("INSERT INTO components VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(&digest)
        .bind(new.size as i64)
        .bind(&new.source)
        .bind(now.0)
        .execute(&mut *c)
        .await?;
    sqlx::query(
        "INSERT INTO component_owners (digest, vo, source, pushed_by, added)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(&digest)
    .bind(new.owner.map_or(String::new(), |vo| vo.to_string()))
    .bind(&new.source)
    .bind(&new.pushed_by)
    .bind(now.0)
    .execute(&mut *c)
    .await?;
    for (signer, signature) in new.signatures {
        sqlx::query("INSERT INTO signatures VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(&digest)
            .bind(signer)
            .bind(signature)
            .execute(&mut *c)
            .await?;
    }
    Ok(())
}

fn component(row: &AnyRow) -> Result<StoredComponent, StoreError> {
    let vo: String = row.try_get("vo")?;
    Ok(StoredComponent {
        digest: rows::parsed(row, "digest")?,
        owner: if vo.is_empty() { None } else { Some(rows::parsed(row, "vo")?) },
        source: row.try_get("source")?,
        pushed_by: row.try_get("pushed_by")?,
        added: rows::time(row, "added")?,
    })
}

#[async_trait]
impl RegistryStore for SqlStore {
    async fn add_component(&self, new: NewComponent, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |c| Box::pin(add_component(c, new, now))).await
    }

    async fn components(&self) -> Result<Vec<StoredComponent>, StoreError> {
        let found = sqlx::query("SELECT * FROM component_owners ORDER BY added, digest, vo");
        found.fetch_all(&self.readers).await?.iter().map(component).collect()
    }

    async fn signatures(&self) -> Result<Vec<(Digest, String, String)>, StoreError> {
        let found = sqlx::query("SELECT * FROM signatures").fetch_all(&self.readers).await?;
        let signature = |row: &AnyRow| {
            let digest = rows::parsed(row, "digest")?;
            Ok((digest, row.try_get("signer")?, row.try_get("signature")?))
        };
        found.iter().map(signature).collect()
    }

    async fn remove_component(&self, digest: Digest) -> Result<(), StoreError> {
        self.write(move |c| {
            Box::pin(async move {
                for statement in [
                    "DELETE FROM components WHERE digest = $1",
                    "DELETE FROM component_owners WHERE digest = $1",
                    "DELETE FROM signatures WHERE digest = $1",
                ] {
                    sqlx::query(statement).bind(digest.to_string()).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn apply_document(
        &self,
        document: &VoDocument,
        effective: &VoDocument,
        resolutions: &BTreeMap<String, Digest>,
        change: &Change,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let vo = document.vo.clone();
        let document = rows::to_json(document)?;
        let effective = rows::to_json(effective)?;
        let (resolutions, change) = (rows::to_json(resolutions)?, change.clone());
        self.write(move |c| {
            Box::pin(async move {
                let row = sqlx::query(
                    "INSERT INTO documents (vo, revision, document, resolutions, author, applied,
                        action, note, effective)
                     SELECT $1, $8 + 1, $2, $3, $4, $5, $6, $7, $9
                     WHERE $8 = (SELECT coalesce(max(revision), 0) FROM documents WHERE vo = $1)
                     ON CONFLICT DO NOTHING RETURNING revision",
                )
                .bind(vo.as_str())
                .bind(document)
                .bind(resolutions)
                .bind(change.author)
                .bind(now.0)
                .bind(change.action)
                .bind(change.note)
                .bind(after)
                .bind(effective)
                .fetch_optional(c)
                .await?;
                Ok(row.map(|row| row.try_get("revision")).transpose()?)
            })
        })
        .await
    }

    async fn installation(&self) -> Result<(Installation, i64), StoreError> {
        let found = sqlx::query("SELECT * FROM installations ORDER BY revision DESC LIMIT 1");
        match found.fetch_optional(&self.readers).await? {
            Some(row) => Ok((rows::json(&row, "document")?, row.try_get("revision")?)),
            None => Ok((Installation::default(), 0)),
        }
    }

    async fn apply_installation(
        &self,
        installation: &Installation,
        author: &str,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let (document, author) = (rows::to_json(installation)?, author.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let row = sqlx::query(
                    "INSERT INTO installations (revision, document, author, applied)
                     SELECT coalesce(max(revision), 0) + 1, $1, $2, $3 FROM installations
                     RETURNING revision",
                );
                let row = row.bind(document).bind(author).bind(now.0).fetch_one(c).await?;
                Ok(row.try_get("revision")?)
            })
        })
        .await
    }

    async fn revisions(&self, vo: &VoName) -> Result<Vec<StoredDocument>, StoreError> {
        let found = sqlx::query("SELECT * FROM documents WHERE vo = $1 ORDER BY revision");
        found.bind(vo.as_str()).fetch_all(&self.readers).await?.iter().map(document).collect()
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
                    "INSERT INTO meta VALUES ('server-alive', $1)
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
