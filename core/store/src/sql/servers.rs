//! Servers on one database.

use super::{SqlStore, Writes, dialect::Dialect, rows};
use crate::{ServerRecord, ServerStore, StoreError};
use async_trait::async_trait;
use spinor_model::time::Timestamp;
use sqlx::{Row, any::AnyRow};

fn server(row: &AnyRow) -> Result<ServerRecord, StoreError> {
    Ok(ServerRecord {
        server: row.try_get("server")?,
        url: row.try_get("url")?,
        seen: rows::time(row, "seen")?,
        revisions: rows::json(row, "revisions")?,
        problem: row.try_get("problem")?,
    })
}

#[async_trait]
impl ServerStore for SqlStore {
    fn shared(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    async fn answers(&self) -> Result<(), StoreError> {
        if let Writes::One(writer) = &self.writes {
            writer.answers()?;
        }
        sqlx::query("SELECT server FROM servers LIMIT 1").execute(&self.readers).await?;
        Ok(())
    }

    async fn server_seen(&self, record: ServerRecord) -> Result<(), StoreError> {
        let revisions = rows::to_json(&record.revisions)?;
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO servers (server, url, seen, revisions, problem)
                     VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (server) DO UPDATE SET url = excluded.url, seen = excluded.seen,
                        revisions = excluded.revisions, problem = excluded.problem",
                )
                .bind(record.server)
                .bind(record.url)
                .bind(record.seen.0)
                .bind(revisions)
                .bind(record.problem)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn servers(&self, since: Timestamp) -> Result<Vec<ServerRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM servers WHERE seen >= $1 ORDER BY server");
        found.bind(since.0).fetch_all(&self.readers).await?.iter().map(server).collect()
    }

    async fn take_duty(
        &self,
        duty: &str,
        server: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (duty, server) = (duty.to_owned(), server.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO duties (duty, server, held_until) VALUES ($1, $2, $3)
                     ON CONFLICT (duty) DO UPDATE SET server = excluded.server,
                        held_until = excluded.held_until
                     WHERE duties.server = $2 OR duties.held_until < $4",
                )
                .bind(duty)
                .bind(server)
                .bind(until.0)
                .bind(now.0)
                .execute(c)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}
