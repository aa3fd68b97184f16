//! Small requests of one kind that wait while the database works go to it together, in a few statements
//! rather than a few each: on a busy server most of a small write is its way there and back.

use super::SqlStore;
use crate::StoreError;
use futures::future::join_all;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, oneshot};

/// Requests that can be done together.
pub trait Together: Clone + Send + Sync + Sized + 'static {
    /// What comes of one.
    type Answer: Send + 'static;
    /// Only those of one group go together.
    type Group: Ord + Send;

    /// Which it is of.
    fn group(&self) -> Self::Group;

    /// Does one.
    fn alone(
        self,
        store: &SqlStore,
    ) -> impl Future<Output = Result<Self::Answer, StoreError>> + Send;

    /// Does several of a group in one transaction: all of them, or nothing has happened. Where one of them
    /// cannot be done there is no answer, and each is tried alone.
    fn together(
        store: &SqlStore,
        requests: Vec<Self>,
    ) -> impl Future<Output = Result<Option<Vec<Self::Answer>>, StoreError>> + Send;
}

/// So many requests go together at most.
const MOST: usize = 128;

type Tell<R> = oneshot::Sender<Result<<R as Together>::Answer, StoreError>>;

struct Waiting<R: Together> {
    request: R,
    tell: Tell<R>,
}

/// Requests of one kind, on their way to one database.
#[derive(Clone)]
pub struct Gather<R: Together> {
    waiting: Arc<Mutex<Vec<Waiting<R>>>>,
    turn: Arc<Turn<()>>,
}

impl<R: Together> Default for Gather<R> {
    fn default() -> Self {
        Self { waiting: Arc::default(), turn: Arc::default() }
    }
}

impl<R: Together> Gather<R> {
    /// Does a request, together with those that wait by then. What has begun goes on if the caller
    /// hangs up; what has not is forgotten.
    pub async fn run(&self, store: &SqlStore, request: R) -> Result<R::Answer, StoreError> {
        let (tell, mut told) = oneshot::channel();
        self.put(Waiting { request, tell });
        loop {
            tokio::select! {
                biased;
                answer = &mut told => return answer.map_err(|_| StoreError::Closed)?,
                turn = self.turn.clone().lock_owned() => {
                    tokio::spawn(serve(store.clone(), self.take(), turn));
                }
            }
        }
    }

    fn put(&self, waiting: Waiting<R>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    fn take(&self) -> Vec<Waiting<R>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|waiting| !waiting.tell.is_closed());
        let most = waiting.len().min(MOST);
        waiting.drain(..most).collect()
    }
}

async fn serve<R: Together>(store: SqlStore, waiting: Vec<Waiting<R>>, _turn: OwnedMutexGuard<()>) {
    let mut groups: BTreeMap<R::Group, Vec<Waiting<R>>> = BTreeMap::new();
    for waiting in waiting {
        groups.entry(waiting.request.group()).or_default().push(waiting);
    }
    join_all(groups.into_values().map(|group| serve_group(&store, group))).await;
}

async fn serve_group<R: Together>(store: &SqlStore, group: Vec<Waiting<R>>) {
    let (requests, tells): (Vec<R>, Vec<Tell<R>>) =
        group.into_iter().map(|waiting| (waiting.request, waiting.tell)).unzip();
    if requests.len() > 1 {
        match R::together(store, requests.clone()).await {
            Ok(Some(answers)) => {
                for (tell, answer) in tells.into_iter().zip(answers) {
                    drop(tell.send(Ok(answer)));
                }
                return;
            }
            // It may have happened: to try again could be to do it twice.
            Err(StoreError::Commit(why)) => {
                for tell in tells {
                    drop(tell.send(Err(StoreError::Commit(why.clone()))));
                }
                return;
            }
            Ok(None) | Err(_) => {}
        }
    }
    let each = requests.into_iter().zip(tells).map(|(request, tell)| async move {
        drop(tell.send(request.alone(store).await));
    });
    join_all(each).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::testing::store;
    use std::time::Duration;
    use tokio::time::sleep;

    /// How often requests were done, alone and together, by their numbers; 13 cannot be done with others,
    /// and of 17 it is not known whether it was. Hundreds are groups.
    type Done = Arc<Mutex<Vec<Vec<u32>>>>;

    #[derive(Clone)]
    struct Count(u32, Done);

    impl Together for Count {
        type Answer = u32;
        type Group = u32;

        fn group(&self) -> u32 {
            self.0 / 100
        }

        async fn alone(self, _: &SqlStore) -> Result<u32, StoreError> {
            sleep(Duration::from_millis(50)).await;
            self.1.lock().unwrap().push(vec![self.0]);
            Ok(self.0 * 10)
        }

        async fn together(_: &SqlStore, all: Vec<Self>) -> Result<Option<Vec<u32>>, StoreError> {
            if all.iter().any(|one| one.0 == 13) {
                return Ok(None);
            }
            if all.iter().any(|one| one.0 == 17) {
                return Err(StoreError::Commit("gone".to_owned()));
            }
            all[0].1.lock().unwrap().push(all.iter().map(|one| one.0).collect());
            Ok(Some(all.iter().map(|one| one.0 * 10).collect()))
        }
    }

    #[tokio::test]
    async fn what_waits_goes_together_and_each_gets_its_own_answer() {
        let (store, _directory) = store().await;
        let (gather, done) = (Gather::default(), Done::default());
        let ask = |n| gather.run(&store, Count(n, done.clone()));
        let first = tokio::spawn({
            let (gather, store, done) = (gather.clone(), store.clone(), done.clone());
            async move { gather.run(&store, Count(1, done)).await.unwrap() }
        });
        sleep(Duration::from_millis(10)).await;
        let (two, three) = tokio::join!(ask(2), ask(3));
        assert_eq!((first.await.unwrap(), two.unwrap(), three.unwrap()), (10, 20, 30));
        assert_eq!(*done.lock().unwrap(), [vec![1], vec![2, 3]]);
        done.lock().unwrap().clear();
        let (a, b, c) = tokio::join!(ask(4), ask(13), ask(5));
        assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (40, 130, 50));
        assert_eq!(done.lock().unwrap().iter().filter(|done| done.len() == 1).count(), 3);
    }

    /// Starts one, and while it is being done, others.
    async fn behind_one(numbers: &[u32]) -> (Vec<Result<u32, StoreError>>, Vec<Vec<u32>>) {
        let (store, _directory) = store().await;
        let (gather, done) = (Gather::default(), Done::default());
        let ask = |n| gather.run(&store, Count(n, done.clone()));
        let later = join_all(numbers.iter().map(|n| async {
            sleep(Duration::from_millis(10)).await;
            ask(*n).await
        }));
        let (first, answers) = tokio::join!(ask(1), later);
        first.unwrap();
        let done = done.lock().unwrap().clone();
        (answers, done)
    }

    #[tokio::test]
    async fn one_group_that_cannot_go_together_leaves_the_others_done_once() {
        let (answers, mut done) = behind_one(&[2, 13, 201, 202]).await;
        assert!(answers.iter().all(Result::is_ok));
        done.sort();
        assert_eq!(done, [vec![1], vec![2], vec![13], vec![201, 202]]);
    }

    #[tokio::test]
    async fn what_may_have_happened_is_not_tried_again() {
        let (answers, done) = behind_one(&[2, 17]).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Commit(_)))));
        assert_eq!(done, [vec![1]]);
    }

    #[tokio::test]
    async fn whoever_hangs_up_while_waiting_is_forgotten() {
        let (store, _directory) = store().await;
        let (gather, done) = (Gather::default(), Done::default());
        let ask = |n| gather.run(&store, Count(n, done.clone()));
        let soon = Duration::from_millis(10);
        // The first has begun, and goes on; the second only waited.
        assert!(tokio::time::timeout(soon, async { tokio::join!(ask(1), ask(2)) }).await.is_err());
        assert_eq!(ask(3).await.unwrap(), 30);
        let done = done.lock().unwrap().concat();
        assert!(done.contains(&1) && done.contains(&3), "{done:?}");
    }
}
