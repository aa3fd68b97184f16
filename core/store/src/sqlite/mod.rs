//! The store in one SQLite file: write-ahead log, every commit synced, one writer whose commits
//! carry whatever has gathered meanwhile.

mod admission;
mod attempts;
mod claims;
mod conclusions;
mod jobs;
mod moves;
mod orders;
mod pilots;
mod policies;
mod registry;
mod rows;
mod sandboxes;
mod usage;
mod watch;
mod writer;

use crate::StoreError;
use futures::future::BoxFuture;
use sqlx::{
    SqliteConnection, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{borrow::Cow, path::Path, time::Duration};
use writer::Writer;

/// A store in one file.
#[derive(Clone)]
pub struct SqliteStore {
    readers: SqlitePool,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the file, made if it is missing, and brings its schema up to date.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(30))
            .foreign_keys(false)
            .statement_cache_capacity(256);
        let writing =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        migrator().run(&writing).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.pragma("query_only", "1"))
            .await?;
        Ok(Self { readers, writer: Writer::start(writing.acquire().await?.detach()) })
    }

    /// Runs `act` in a transaction; when it returns, what it did is on disk.
    async fn write<T: Send + 'static>(
        &self,
        act: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(act).await
    }
}

fn migrator() -> Migrator {
    let migration = |version, name: &'static str, sql: &'static str| {
        let (name, sql) = (Cow::Borrowed(name), sqlx::SqlStr::from_static(sql));
        Migration::new(version, name, MigrationType::Simple, sql, false)
    };
    Migrator {
        migrations: Cow::Owned(vec![
            migration(1, "init", include_str!("../../migrations/0001_init.sql")),
            migration(2, "policies", include_str!("../../migrations/0002_policies.sql")),
        ]),
        ..Migrator::DEFAULT
    }
}
