//! The store in SQL, on one of two databases.
//!
//! SQLite is one file: write-ahead log, every commit synced, one writer whose commits carry whatever
//! has gathered meanwhile. PostgreSQL is a server that many of ours share: each operation is a
//! transaction of its own, rows that it will change are locked when they are read, and what is counted
//! is counted alone. The statements are the same; `dialect.rs` has what differs.

mod admission;
mod attempts;
mod claims;
mod conclusions;
mod counts;
mod dialect;
mod facts;
mod gather;
mod identity;
mod jobs;
mod logs;
mod migrations;
mod moves;
mod nodes;
mod orders;
mod pilots;
mod policies;
mod registry;
mod reports;
mod rows;
mod sandboxes;
mod search;
mod servers;
mod statuses;
#[cfg(test)]
mod testing;
mod usage;
mod watch;
mod writer;

use crate::StoreError;
use dialect::Dialect;
use futures::future::BoxFuture;
use gather::Gather;
use sqlx::{AnyConnection, AnyPool, Executor, any::AnyPoolOptions};
use std::{fs::File, path::PathBuf, time::Duration};
use writer::Writer;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of its own.
    Sqlite(PathBuf),
    /// The URL of a database on a PostgreSQL server: `postgres://USER@HOST/DATABASE`.
    Postgres(String),
}

/// A store in a database.
#[derive(Clone)]
pub struct SqlStore {
    readers: AnyPool,
    writes: Writes,
    dialect: Dialect,
    counts: counts::Counts,
    submissions: Gather<admission::Asked>,
    beats: Gather<reports::Alive>,
    told: Gather<statuses::Told>,
}

#[derive(Clone)]
enum Writes {
    /// Through one connection.
    One(Writer),
    /// Through as many as there are.
    Many(AnyPool),
}

/// Connections of one server to PostgreSQL.
const CONNECTIONS: u32 = 16;

/// The writer syncs its commits itself.
const SQLITE_WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
    PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -65536";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 30000; PRAGMA query_only = 1";

impl SqlStore {
    /// Opens a database, and brings its schema up to date.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match database {
            Database::Sqlite(file) => Self::open_sqlite(file).await,
            Database::Postgres(url) => Self::open_postgres(url).await,
        }
    }

    async fn open_sqlite(file: &std::path::Path) -> Result<Self, StoreError> {
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let writing = pool(1, SQLITE_WRITER).connect(&url).await?;
        migrations::run(&writing, Dialect::Sqlite).await?;
        let mut writing = writing.acquire().await?.detach();
        // What is found in the log after a failed sync may be in memory alone. Whoever opens the file beside a server
        // that runs holds nobody up.
        writing.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
        let readers = pool(4, SQLITE_READER).connect(&url).await?;
        // It is beside the file itself, not beside a link to it.
        let mut log = file.canonicalize()?.into_os_string();
        log.push("-wal");
        let log = File::options().write(true).open(log)?;
        let writer = Writer::start(writing, move || log.sync_data())?;
        Ok(Self::over(readers, Writes::One(writer), Dialect::Sqlite))
    }

    async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        let pool = pool(CONNECTIONS, "SET statement_timeout = '60s'").connect(url).await?;
        migrations::run(&pool, Dialect::Postgres).await?;
        Ok(Self::over(pool.clone(), Writes::Many(pool), Dialect::Postgres))
    }

    fn over(readers: AnyPool, writes: Writes, dialect: Dialect) -> Self {
        let (counts, submissions, beats, told) = Default::default();
        Self { readers, writes, dialect, counts, submissions, beats, told }
    }

    /// Runs `act` in a transaction; when it returns, what it did is on disk. A transaction that the
    /// database breaks off because it stands in another's way is run again.
    async fn write<T: Send + 'static>(
        &self,
        act: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Clone
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let pool = match &self.writes {
            Writes::One(writer) => return writer.run(act).await,
            Writes::Many(pool) => pool,
        };
        let mut left = RETRIES;
        loop {
            match transact(pool, act.clone()).await {
                Err(error) if left > 0 && error.is_contention() => left -= 1,
                done => return done,
            }
        }
    }
}

/// How often a transaction is run again that stood in another's way.
const RETRIES: u32 = 5;

async fn transact<T>(
    pool: &AnyPool,
    act: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut transaction = pool.begin().await?;
    let done = act(&mut transaction).await?;
    match transaction.commit().await {
        // A conflict that is found at the end has undone it all.
        Err(error) if !StoreError::is_conflict(&error) => {
            Err(StoreError::Commit(error.to_string()))
        }
        committed => Ok(committed.map(|()| done)?),
    }
}

fn pool(connections: u32, greeting: &'static str) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(greeting).await?;
                Ok(())
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Barrier;

    #[tokio::test]
    async fn a_file_may_be_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let store = SqlStore::open(&Database::Sqlite(link)).await.unwrap();
        let made = store.write(|c| {
            Box::pin(async move { Ok(c.execute("CREATE TABLE t (id INT)").await.map(|_| ())?) })
        });
        made.await.unwrap();
        assert!(directory.path().join("file-wal").exists());
    }

    /// Two transactions take the same two rows, each the other's first: PostgreSQL breaks one off.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_that_stood_in_anothers_way_is_run_again() {
        if !spinor_test_postgres::wanted() {
            return;
        }
        let url = spinor_test_postgres::database();
        let store = SqlStore::open(&Database::Postgres(url)).await.unwrap();
        let made = store.write(|c| {
            Box::pin(async move {
                c.execute("CREATE TABLE t (id INT, n INT); INSERT INTO t VALUES (1, 0), (2, 0)")
                    .await?;
                Ok(())
            })
        });
        made.await.unwrap();
        let barrier = Arc::new(Barrier::new(2));
        let both = |first: i32, second: i32| {
            let barrier = barrier.clone();
            store.write(move |c| {
                Box::pin(async move {
                    let add =
                        |id: i32| sqlx::query("UPDATE t SET n = n + 1 WHERE id = $1").bind(id);
                    add(first).execute(&mut *c).await?;
                    // Whoever is run again is alone.
                    let _ = tokio::time::timeout(Duration::from_secs(2), barrier.wait()).await;
                    add(second).execute(&mut *c).await?;
                    Ok(())
                })
            })
        };
        let (one, other) = tokio::join!(both(1, 2), both(2, 1));
        one.and(other).unwrap();
        let n: i64 = sqlx::query_scalar("SELECT CAST(SUM(n) AS BIGINT) FROM t")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        assert_eq!(n, 4);
    }
}
