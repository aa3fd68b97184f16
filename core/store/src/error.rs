use spinor_model::{finding::innermost, id::JobId, state::IllegalMove};

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
    /// Blobs: the innermost cause, for what is around it says the same again and again.
    #[error("blobs: {0}")]
    Blobs(String),
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
    /// The database did not say whether it kept what was written.
    #[error("database: a commit failed: {0}")]
    Commit(String),
}

impl StoreError {
    /// Whether the database does not answer: later it may.
    pub fn is_outage(&self) -> bool {
        use sqlx::Error::{Io, PoolClosed, PoolTimedOut, WorkerCrashed};
        let away = |error| matches!(error, &(Io(_) | PoolClosed | PoolTimedOut | WorkerCrashed));
        match self {
            Self::Database(error) => away(error) || is_ending(error),
            Self::Closed => true,
            _ => false,
        }
    }

    /// Whether the database broke off a transaction because it stood in another's way (PostgreSQL's
    /// `deadlock_detected` and `serialization_failure`): the same may work the next time.
    pub(crate) fn is_contention(&self) -> bool {
        matches!(self, Self::Database(error) if Self::is_conflict(error))
    }

    /// Whether this is such an end.
    pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == "40P01" || code == "40001")
    }
}

/// Whether PostgreSQL is being stopped or started (its class 57P).
fn is_ending(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("57P"))
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        Self::Blobs(innermost(&error))
    }
}
