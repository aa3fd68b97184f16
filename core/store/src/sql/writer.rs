//! The one writer. What gathers while a commit is on its way to the disk goes into the next one, so that
//! many small transactions share one sync, and the next is at work while the last is synced.

use crate::StoreError;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, ready},
};
use sqlx::AnyConnection;
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Tells whoever asked, once the commit is on disk or has failed.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Operation = Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Reply> + Send>;

/// A commit takes at most so many operations, or as many as fit in this time: of two that are short one is at work
/// while the other is synced, and while those who hear of it ask for more.
const GROUP: usize = 256;
const GROUP_TIME: Duration = Duration::from_micros(1500);

/// The way to the writer.
#[derive(Clone)]
pub struct Writer {
    operations: mpsc::Sender<Operation>,
}

impl Writer {
    /// Starts it on its connection, whose commits are on disk once `sync` has been called. It ends when the last
    /// handle is gone, or when a sync fails: what is on disk is not known then, until the database is opened again.
    pub fn start(
        connection: AnyConnection,
        sync: impl Fn() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (operations, received) = mpsc::channel(4 * GROUP);
        tokio::spawn(write(connection, received, syncer(sync)?));
        Ok(Self { operations })
    }

    /// Whether it has not ended.
    pub fn answers(&self) -> Result<(), StoreError> {
        if self.operations.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
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

/// Where a sync is asked for, and who is told of it.
type Syncer = std::sync::mpsc::Sender<oneshot::Sender<io::Result<()>>>;

/// Syncs on a thread of its own: among other things that keep threads busy, all writes would wait for those.
fn syncer(sync: impl Fn() -> io::Result<()> + Send + 'static) -> io::Result<Syncer> {
    let (ask, asked) = std::sync::mpsc::channel::<oneshot::Sender<io::Result<()>>>();
    let run = move || asked.into_iter().for_each(|tell| drop(tell.send(sync())));
    std::thread::Builder::new().name("spinor-sync".to_owned()).spawn(run)?;
    Ok(ask)
}

/// Whether a commit was kept, as soon as that is known.
type Kept = Shared<BoxFuture<'static, bool>>;

async fn write(
    mut connection: AnyConnection,
    mut operations: mpsc::Receiver<Operation>,
    syncer: Syncer,
) {
    let mut before: Kept = ready(true).boxed().shared();
    loop {
        let first = tokio::select! {
            biased;
            // What is not committed is undone: whoever waits for that hears that the store is closed.
            false = before.clone() => return,
            Some(first) = operations.recv() => first,
            else => return,
        };
        if let Err(error) = sqlx::query(FIRST).execute(&mut connection).await {
            tracing::error!(%error, "the database cannot be written");
            // Half of it may have been done.
            drop(sqlx::query("ROLLBACK").execute(&mut connection).await);
            continue;
        }
        // While the commit before is on its way to the disk this one cannot follow it, and takes all that waits.
        let started = Instant::now();
        let mut replies = vec![first(&mut connection).await];
        while replies.len() < GROUP
            && (started.elapsed() < GROUP_TIME || before.clone().now_or_never().is_none())
            && let Ok(next) = operations.try_recv()
        {
            if let Err(error) = sqlx::query(NEXT).execute(&mut connection).await {
                tracing::error!(%error, "an operation cannot begin");
                break;
            }
            replies.push(next(&mut connection).await);
        }
        if !before.await {
            return;
        }
        let committed = sqlx::query("COMMIT").execute(&mut connection).await;
        if let Err(error) = &committed {
            tracing::error!(%error, "a commit failed");
            drop(sqlx::query("ROLLBACK").execute(&mut connection).await);
        }
        let committed = committed.map(|_| ()).map_err(|error| error.to_string());
        let kept = tokio::spawn(keep(syncer.clone(), committed, replies));
        before = kept.map(|kept| kept.unwrap_or(false)).boxed().shared();
    }
}

/// Syncs what was committed, and tells those who wait for it. Whether all that was committed is on disk.
async fn keep(syncer: Syncer, committed: Result<(), String>, replies: Vec<Reply>) -> bool {
    let kept = match committed {
        Ok(()) => {
            let (tell, told) = oneshot::channel();
            drop(syncer.send(tell));
            told.await.unwrap_or_else(|gone| Err(io::Error::other(gone)))
        }
        Err(_) => Ok(()),
    };
    if let Err(error) = &kept {
        tracing::error!(%error, "a commit was not synced: nothing is written until the server is started again");
    }
    let is_kept = kept.is_ok();
    let told = committed.and(kept.map_err(|error| error.to_string()));
    for reply in replies {
        reply(told.clone().map_err(StoreError::Commit));
    }
    is_kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, Row};
    use std::sync::{Arc, mpsc};
    use tokio::{sync::Semaphore, time};

    /// A writer whose every sync is counted when it is asked for, and takes what comes next from a channel for its
    /// result.
    struct World {
        writer: Writer,
        asked: Arc<Semaphore>,
        syncs: mpsc::Sender<bool>,
        _directory: tempfile::TempDir,
    }

    async fn world() -> World {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("db").display());
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE t (n INT)").execute(&mut connection).await.unwrap();
        let ((syncs, results), asked) = (mpsc::channel(), Arc::new(Semaphore::new(0)));
        let ask = asked.clone();
        let sync = move || {
            ask.add_permits(1);
            match results.recv() {
                Ok(true) => Ok(()),
                _ => Err(io::Error::other("the disk is gone")),
            }
        };
        let writer = Writer::start(connection, sync).unwrap();
        World { writer, asked, syncs, _directory: directory }
    }

    type Added = tokio::task::JoinHandle<Result<i64, StoreError>>;

    impl World {
        /// Waits until a commit is being synced.
        async fn syncing(&self) {
            self.asked.acquire().await.unwrap().forget();
        }

        /// A row that is being synced, and one that waits for that.
        async fn one_behind_another(&self) -> [Added; 2] {
            let first = self.add();
            self.syncing().await;
            let second = self.add();
            time::sleep(SOON).await;
            [first, second]
        }

        /// Adds a row, and says how many there are.
        fn add(&self) -> Added {
            let writer = self.writer.clone();
            tokio::spawn(async move {
                let act = writer.run(|c| {
                    Box::pin(async move {
                        sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *c).await?;
                        let count = sqlx::query("SELECT count(*) AS n FROM t");
                        Ok(count.fetch_one(c).await?.try_get("n")?)
                    })
                });
                act.await
            })
        }
    }

    /// Long enough for whatever does not wait for a sync.
    const SOON: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn nobody_hears_of_a_commit_that_is_not_synced() {
        let world = world().await;
        let [first, second] = world.one_behind_another().await;
        assert!(!first.is_finished() && !second.is_finished());
        world.syncs.send(true).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 1);
        world.syncing().await;
        time::sleep(SOON).await;
        assert!(!second.is_finished());
        world.syncs.send(true).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn what_was_not_synced_is_not_known_and_nothing_follows() {
        let world = world().await;
        let [first, second] = world.one_behind_another().await;
        world.syncs.send(false).unwrap();
        assert!(matches!(first.await.unwrap(), Err(StoreError::Commit(_))));
        assert!(matches!(second.await.unwrap(), Err(StoreError::Closed)));
        assert!(matches!(world.add().await.unwrap(), Err(StoreError::Closed)));
    }

    #[tokio::test]
    async fn a_writer_whose_sync_failed_says_so_without_being_asked() {
        let world = world().await;
        world.syncs.send(false).unwrap();
        assert!(matches!(world.add().await.unwrap(), Err(StoreError::Commit(_))));
        let ended = async {
            while world.writer.answers().is_ok() {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        time::timeout(Duration::from_secs(60), ended).await.unwrap();
    }

    #[tokio::test]
    async fn what_comes_during_a_sync_shares_the_next() {
        let world = world().await;
        let all: Vec<_> = (0..50).map(|_| world.add()).collect();
        world.syncing().await;
        time::sleep(SOON).await;
        (0..50).for_each(|_| world.syncs.send(true).unwrap());
        let mut numbers = Vec::new();
        for one in all {
            numbers.push(one.await.unwrap().unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=50).collect::<Vec<i64>>());
        assert!(world.asked.available_permits() < 10);
    }
}
