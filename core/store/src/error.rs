use spinor_model::{id::JobId, state::IllegalMove};

/// Trouble of the store's own.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema.
    #[error("database schema: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Files.
    #[error("files: {0}")]
    Files(#[from] std::io::Error),
    /// Blobs.
    #[error("blobs: {0}")]
    Blobs(#[from] object_store::Error),
    /// What was stored does not read back.
    #[error("stored {what} does not read back: {why}")]
    Corrupt {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// A move that a method's own checks should have kept out.
    #[error("job {0}: {1}")]
    Move(JobId, IllegalMove),
    /// The store has been closed.
    #[error("the store has been closed")]
    Closed,
}

impl StoreError {
    /// Whether the database broke off a transaction because it stood in another's way (PostgreSQL's
    /// `deadlock_detected` and `serialization_failure`): the same may work the next time.
    pub(crate) fn is_contention(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == "40P01" || code == "40001")
    }
}
