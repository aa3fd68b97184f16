//! The one writer. What gathers while it syncs goes into its next commit, so that many small
//! transactions share one sync.

use crate::StoreError;
use futures::future::BoxFuture;
use sqlx::AnyConnection;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Tells whoever asked, once the commit is through or has failed.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Operation = Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Reply> + Send>;

/// A commit takes at most so many operations, or as many as fit in this time.
const GROUP: usize = 256;
const GROUP_TIME: Duration = Duration::from_millis(20);

/// The way to the writer.
#[derive(Clone)]
pub struct Writer {
    operations: mpsc::Sender<Operation>,
}

impl Writer {
    /// Starts it on its connection; it ends when the last handle is gone.
    pub fn start(connection: AnyConnection) -> Self {
        let (operations, received) = mpsc::channel(4 * GROUP);
        tokio::spawn(write(connection, received));
        Self { operations }
    }

    /// Runs `act`, alone in what it sees and all or nothing.
    pub async fn run<T: Send + 'static>(
        &self,
        act: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let operation: Operation = Box::new(move |connection| {
            Box::pin(async move {
                let result = isolated(connection, act).await;
                let reply: Reply = Box::new(move |committed| {
                    drop(tell.send(committed.and(result)));
                });
                reply
            })
        });
        self.operations.send(operation).await.map_err(|_| StoreError::Closed)?;
        told.await.map_err(|_| StoreError::Closed)?
    }
}

/// An operation is undone alone if it fails. It ends as the next begins, or with the commit: each statement is a way
/// to the database and back.
const FIRST: &str = "BEGIN IMMEDIATE; SAVEPOINT operation";
const NEXT: &str = "RELEASE operation; SAVEPOINT operation";
const UNDO: &str = "ROLLBACK TO operation";

/// Runs `act` in the savepoint that is open, which is undone if it fails.
async fn isolated<T>(
    connection: &mut AnyConnection,
    act: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = act(connection).await;
    if result.is_err() {
        sqlx::query(UNDO).execute(connection).await?;
    }
    result
}

async fn write(mut connection: AnyConnection, mut operations: mpsc::Receiver<Operation>) {
    while let Some(first) = operations.recv().await {
        if let Err(error) = sqlx::query(FIRST).execute(&mut connection).await {
            tracing::error!(%error, "the database cannot be written");
            // Half of it may have been done.
            drop(sqlx::query("ROLLBACK").execute(&mut connection).await);
            continue;
        }
        let started = Instant::now();
        let mut replies = vec![first(&mut connection).await];
        while replies.len() < GROUP && started.elapsed() < GROUP_TIME {
            let Ok(next) = operations.try_recv() else { break };
            if let Err(error) = sqlx::query(NEXT).execute(&mut connection).await {
                tracing::error!(%error, "an operation cannot begin");
                break;
            }
            replies.push(next(&mut connection).await);
        }
        let committed = sqlx::query("COMMIT").execute(&mut connection).await;
        if let Err(error) = &committed {
            tracing::error!(%error, "a commit failed");
            drop(sqlx::query("ROLLBACK").execute(&mut connection).await);
        }
        for reply in replies {
            reply(match &committed {
                Ok(_) => Ok(()),
                Err(error) => Err(StoreError::Commit(error.to_string())),
            });
        }
    }
}
