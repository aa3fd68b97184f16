//! Small requests of one kind that wait while the database works go to it together, in a few statements
//! rather than a few each: on a busy server most of a small write is its way there and back.

use super::SqlStore;
use crate::{ServerStore, StoreError};
use futures::future::join_all;
use sqlx::AnyConnection;
use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::sync::oneshot;

/// Requests that can be done together.
pub trait Together: Clone + Send + Sync + Sized + 'static {
    /// What comes of one.
    type Answer: Send + 'static;
    /// Only those of one group go together.
    type Group: Ord + Clone + Send + Sync + 'static;

    /// Which it is of.
    fn group(&self) -> Self::Group;

    /// Does some of a group in a transaction: all of them, or nothing, and says what comes of one that cannot
    /// be done.
    fn together(
        c: &mut AnyConnection,
        requests: &[Self],
    ) -> impl Future<Output = Result<Done<Self::Answer>, StoreError>> + Send;
}

/// An answer to each, or what comes of one that cannot be done.
pub type Done<T> = Result<Vec<T>, T>;

/// So many requests go together at most, where there is one writer: while it is at work on these, those who had the
/// ones before ask for more.
const MOST: usize = 16;

/// Where there are many, for whom the way to the database and back is longer.
const MOST_SHARED: usize = 128;

type Tell<R> = oneshot::Sender<Result<<R as Together>::Answer, StoreError>>;

struct Waiting<R: Together> {
    request: R,
    tell: Tell<R>,
}

/// Requests of one kind, on their way to one database. Each group that is here has a leader, who is about to
/// take it there.
#[derive(Clone)]
pub struct Gather<R: Together> {
    groups: Arc<Mutex<Groups<R>>>,
}

type Groups<R> = BTreeMap<<R as Together>::Group, Vec<Waiting<R>>>;

impl<R: Together> Default for Gather<R> {
    fn default() -> Self {
        Self { groups: Arc::default() }
    }
}

impl<R: Together> Gather<R> {
    /// Does a request, together with those of its group that wait when the database gets to it. What has begun
    /// goes on if the caller hangs up; what has not is forgotten.
    pub async fn run(&self, store: &SqlStore, request: R) -> Result<R::Answer, StoreError> {
        let (tell, told) = oneshot::channel();
        let group = request.group();
        if self.put(group.clone(), Waiting { request, tell }) {
            self.lead(store, &group);
        }
        told.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether the group is new, and wants a leader.
    fn put(&self, group: R::Group, waiting: Waiting<R>) -> bool {
        let mut groups = lock(&self.groups);
        let led = groups.contains_key(&group);
        groups.entry(group).or_default().push(waiting);
        !led
    }

    fn lead(&self, store: &SqlStore, group: &R::Group) {
        let (gather, store, group) = (self.clone(), store.clone(), group.clone());
        tokio::spawn(async move {
            // Also if this one comes to grief, others follow.
            let batch = Batch::of(gather.clone(), store.clone(), group.clone());
            drop(tokio::spawn(Arc::new(batch).serve()).await);
            if store.shared() {
                gather.lead_on(&store, &group);
            }
        });
    }

    /// Lets somebody lead those who wait, if any do.
    fn lead_on(&self, store: &SqlStore, group: &R::Group) {
        let mut groups = lock(&self.groups);
        if groups.get(group).is_none_or(Vec::is_empty) {
            groups.remove(group);
            return;
        }
        drop(groups);
        self.lead(store, group);
    }

    /// Takes those who wait now. Where there is one writer the next come after them in any case, and need not wait
    /// until these are on disk; where there are many they would, each alone, stand in each other's way.
    fn take(&self, store: &SqlStore, group: &R::Group) -> Vec<Waiting<R>> {
        let most = if store.shared() { MOST_SHARED } else { MOST };
        let mut taken = Vec::new();
        if let Some(waiting) = lock(&self.groups).get_mut(group) {
            waiting.retain(|waiting| !waiting.tell.is_closed());
            taken.extend(waiting.drain(..waiting.len().min(most)));
        }
        if !store.shared() {
            self.lead_on(store, group);
        }
        taken
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests of a group that go together: those that wait when the database gets to them.
struct Batch<R: Together> {
    gather: Gather<R>,
    store: SqlStore,
    group: R::Group,
    requests: OnceLock<Vec<R>>,
    tells: Mutex<Vec<Tell<R>>>,
}

impl<R: Together> Batch<R> {
    fn of(gather: Gather<R>, store: SqlStore, group: R::Group) -> Self {
        let (requests, tells) = Default::default();
        Self { gather, store, group, requests, tells }
    }

    /// The requests: whoever asks first takes them.
    fn requests(&self) -> &[R] {
        self.requests.get_or_init(|| {
            let waiting = self.gather.take(&self.store, &self.group);
            let (requests, tells) = waiting.into_iter().map(|one| (one.request, one.tell)).unzip();
            *lock(&self.tells) = tells;
            requests
        })
    }

    async fn serve(self: Arc<Self>) {
        let batch = self.clone();
        let act = self.store.write(move |c| Box::pin(async move { batch.act(c).await }));
        let done = act.await;
        // If the database never got to them, they are taken now.
        let requests = self.requests();
        let mut tells = mem::take(&mut *lock(&self.tells));
        match done {
            Ok(Ok(answers)) => {
                for (tell, answer) in tells.into_iter().zip(answers) {
                    drop(tell.send(Ok(answer)));
                }
            }
            // It may have happened: to try again could be to do it twice.
            Err(StoreError::Commit(why)) => {
                for tell in tells {
                    drop(tell.send(Err(StoreError::Commit(why.clone()))));
                }
            }
            Ok(Err(_)) | Err(_) if tells.len() > 1 => {
                let each = requests.iter().cloned().zip(tells).map(|(request, tell)| async {
                    drop(tell.send(alone(&self.store, request).await));
                });
                join_all(each).await;
            }
            done => {
                if let Some(tell) = tells.pop() {
                    drop(tell.send(done.and_then(only)));
                }
            }
        }
    }

    async fn act(&self, c: &mut AnyConnection) -> Result<Done<R::Answer>, StoreError> {
        match self.requests() {
            [] => Ok(Ok(Vec::new())),
            requests => R::together(c, requests).await,
        }
    }
}

async fn alone<R: Together>(store: &SqlStore, request: R) -> Result<R::Answer, StoreError> {
    let act = store.write(move |c| Box::pin(async move { R::together(c, &[request]).await }));
    act.await.and_then(only)
}

/// The answer to one alone.
fn only<T>(done: Done<T>) -> Result<T, StoreError> {
    match done {
        Ok(mut answers) => answers.pop().ok_or(StoreError::Closed),
        Err(answer) => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::testing::store;
    use std::time::Duration;
    use tokio::{sync::Semaphore, task::JoinHandle};

    /// How often requests were done, alone and together, by their numbers.
    struct Seen {
        done: Mutex<Vec<Vec<u32>>>,
        begun: Semaphore,
        gate: Semaphore,
    }

    impl Seen {
        fn done(&self) -> Vec<Vec<u32>> {
            mem::take(&mut *self.done.lock().unwrap())
        }
    }

    /// 1 waits at the gate; 13 cannot be done with others, and of 17 it is not known whether it was. Hundreds are
    /// groups.
    #[derive(Clone)]
    struct Count(u32, Arc<Seen>);

    impl Together for Count {
        type Answer = u32;
        type Group = u32;

        fn group(&self) -> u32 {
            self.0 / 100
        }

        async fn together(_: &mut AnyConnection, all: &[Self]) -> Result<Done<u32>, StoreError> {
            let (numbers, seen): (Vec<u32>, &Seen) =
                (all.iter().map(|one| one.0).collect(), &all[0].1);
            if numbers.len() > 1 && numbers.contains(&13) {
                return Ok(Err(0));
            }
            if numbers.contains(&17) {
                return Err(StoreError::Commit("gone".to_owned()));
            }
            if numbers.contains(&1) {
                seen.begun.add_permits(1);
                seen.gate.acquire().await.unwrap().forget();
            }
            let answers = numbers.iter().map(|number| number * 10).collect();
            seen.done.lock().unwrap().push(numbers);
            Ok(Ok(answers))
        }
    }

    /// A database that is at work on 1.
    struct World {
        store: SqlStore,
        gather: Gather<Count>,
        seen: Arc<Seen>,
        first: JoinHandle<Result<u32, StoreError>>,
        _directory: tempfile::TempDir,
    }

    async fn at_work() -> World {
        let (store, _directory) = store().await;
        let (done, begun, gate) = (Mutex::default(), Semaphore::new(0), Semaphore::new(0));
        let seen = Arc::new(Seen { done, begun, gate });
        let gather = Gather::default();
        let (g, s, count) = (gather.clone(), store.clone(), Count(1, seen.clone()));
        let first = tokio::spawn(async move { g.run(&s, count).await });
        seen.begun.acquire().await.unwrap().forget();
        World { store, gather, seen, first, _directory }
    }

    impl World {
        async fn ask(&self, number: u32) -> Result<u32, StoreError> {
            self.gather.run(&self.store, Count(number, self.seen.clone())).await
        }

        /// Asks for these while 1 is done.
        async fn behind(&self, numbers: &[u32]) -> Vec<Result<u32, StoreError>> {
            let answers = join_all(numbers.iter().map(|number| self.ask(*number)));
            tokio::join!(answers, async { self.seen.gate.add_permits(1) }).0
        }
    }

    #[tokio::test]
    async fn what_waits_goes_together_and_each_gets_its_own_answer() {
        let world = at_work().await;
        let answers: Vec<u32> =
            world.behind(&[2, 3]).await.into_iter().map(Result::unwrap).collect();
        assert_eq!((answers, world.seen.done()), (vec![20, 30], vec![vec![1], vec![2, 3]]));
        assert_eq!(world.first.await.unwrap().unwrap(), 10);
    }

    #[tokio::test]
    async fn one_group_that_cannot_go_together_leaves_the_others_done_once() {
        let world = at_work().await;
        let answers: Vec<u32> =
            world.behind(&[2, 13, 201, 202]).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [20, 130, 2010, 2020]);
        let mut done = world.seen.done();
        done.sort();
        assert_eq!(done, [vec![1], vec![2], vec![13], vec![201, 202]]);
    }

    #[tokio::test]
    async fn where_one_cannot_go_together_each_is_tried_alone() {
        let world = at_work().await;
        let answers: Vec<u32> =
            world.behind(&[4, 13, 5]).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [40, 130, 50]);
        assert!(world.seen.done().iter().all(|done| done.len() == 1));
    }

    #[tokio::test]
    async fn what_may_have_happened_is_not_tried_again() {
        let world = at_work().await;
        let answers = world.behind(&[2, 17]).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Commit(_)))));
        assert_eq!(world.seen.done(), [vec![1]]);
    }

    #[tokio::test]
    async fn more_than_go_together_all_get_their_answers() {
        let world = at_work().await;
        let numbers: Vec<u32> = (1000..1000 + 2 * MOST_SHARED as u32).map(|n| n / 4).collect();
        let answers = world.behind(&numbers).await;
        for (number, answer) in numbers.iter().zip(answers) {
            assert_eq!(answer.unwrap(), number * 10);
        }
    }

    #[tokio::test]
    async fn whoever_hangs_up_while_waiting_is_forgotten() {
        let world = at_work().await;
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, world.ask(2)).await.is_err());
        // It has begun, and goes on.
        world.first.abort();
        assert_eq!(world.behind(&[3]).await.pop().unwrap().unwrap(), 30);
        assert_eq!(world.seen.done(), [vec![1], vec![3]]);
    }
}
