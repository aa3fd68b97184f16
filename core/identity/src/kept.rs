//! Credentials that the server gets from elsewhere: the last one is kept, and another one is had half way of its
//! life, while whoever asks is given the last one and waits for nobody.

use async_trait::async_trait;
use spinor_model::time::{Clock, Timestamp};
use std::{
    collections::HashMap,
    fmt::Display,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Where credentials of one kind come from.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// What tells them apart.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// A credential.
    type Made: Clone + Send;
    /// Why there is none.
    type Error: Display + Send;
    /// With less left of its life one is not given out.
    const MARGIN: Duration;

    /// Gets one, and says until when it is good.
    async fn make(&self, key: &Self::Key) -> Result<(Self::Made, Timestamp), Self::Error>;

    /// It came to nothing a moment ago, and why.
    fn again(why: String) -> Self::Error;
}

/// The last one of a key.
struct Last<M> {
    made: Option<(M, Timestamp)>,
    /// When another one is to be had, and when whoever asks waits for it.
    renew: Timestamp,
    urgent: Timestamp,
    /// Why the last attempt came to nothing, and when.
    failed: Option<(Timestamp, String)>,
}

impl<M> Default for Last<M> {
    fn default() -> Self {
        let (renew, urgent) = (Timestamp::default(), Timestamp::default());
        Self { made: None, renew, urgent, failed: None }
    }
}

type Slot<M> = Arc<tokio::sync::Mutex<Last<M>>>;
type Slots<S> = Mutex<HashMap<<S as Source>::Key, Slot<<S as Source>::Made>>>;

/// Credentials of a source. One that is slow to come holds up none of another key.
pub struct Kept<S: Source> {
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    slots: Arc<Slots<S>>,
}

impl<S: Source> Clone for Kept<S> {
    fn clone(&self) -> Self {
        let Self { source, clock, slots } = self;
        Self { source: source.clone(), clock: clock.clone(), slots: slots.clone() }
    }
}

/// Between attempts while there is one, and while there is none.
const LATER: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

impl<S: Source> Kept<S> {
    /// None yet.
    pub fn new(source: S, clock: Arc<dyn Clock>) -> Self {
        Self { source: Arc::new(source), clock, slots: Arc::default() }
    }

    /// A credential with more than half of its life before it, or with a quarter, while another one is on its
    /// way, or the last one, while none can be had; and until when it is good.
    ///
    /// # Errors
    /// If there is none, and none comes.
    pub async fn get(&self, key: S::Key) -> Result<(S::Made, Timestamp), S::Error> {
        let slot = self.slot(&key);
        let mut last = slot.lock().await;
        let now = self.clock.now();
        let good = |(_, until): &&(S::Made, Timestamp)| *until > now.plus(S::MARGIN);
        let there = last.made.as_ref().filter(good).cloned();
        if let Some(made) = there.clone().filter(|_| now < last.urgent) {
            if last.renew <= now {
                last.renew = now.plus(LATER);
                tokio::spawn(self.clone().renew(key, slot.clone()));
            }
            return Ok(made);
        }
        if let Some((_, why)) = last.failed.as_ref().filter(|(at, _)| now.since(*at) < SOON) {
            return Err(S::again(why.clone()));
        }
        match self.source.make(&key).await {
            Ok(made) => {
                self.keep(&mut last, made.clone());
                Ok(made)
            }
            Err(error) => match there {
                Some(made) => {
                    tracing::warn!(%error, "a credential is not renewed");
                    last.urgent = now.plus(LATER);
                    Ok(made)
                }
                None => {
                    last.failed = Some((now, error.to_string()));
                    Err(error)
                }
            },
        }
    }

    /// The key's; those of others whose time is over are forgotten.
    fn slot(&self, key: &S::Key) -> Slot<S::Made> {
        let now = self.clock.now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        let over = |last: &Last<S::Made>| last.made.as_ref().is_some_and(|(_, until)| *until < now);
        slots.retain(|_, slot| !slot.try_lock().is_ok_and(|last| over(&last)));
        slots.entry(key.clone()).or_default().clone()
    }

    async fn renew(self, key: S::Key, slot: Slot<S::Made>) {
        match self.source.make(&key).await {
            Ok(made) => self.keep(&mut *slot.lock().await, made),
            // The last one will do for a while.
            Err(error) => tracing::warn!(%error, "a credential is not renewed"),
        }
    }

    fn keep(&self, last: &mut Last<S::Made>, made: (S::Made, Timestamp)) {
        let now = self.clock.now();
        let life = made.1.since(now);
        let (renew, urgent) = (now.plus(life / 2), now.plus(life / 4 * 3));
        *last = Last { made: Some(made), renew, urgent, failed: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::time::ManualClock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Numbers that are good for a hundred seconds; while it fails, or hangs, there are none.
    #[derive(Clone)]
    struct Numbers {
        clock: Arc<ManualClock>,
        next: Arc<AtomicU32>,
        state: Arc<AtomicU32>,
    }

    const GOOD: u32 = 0;
    const FAILS: u32 = 1;
    const HANGS: u32 = 2;

    #[async_trait]
    impl Source for Numbers {
        type Key = &'static str;
        type Made = u32;
        type Error = String;
        const MARGIN: Duration = Duration::from_secs(10);

        async fn make(&self, _: &&'static str) -> Result<(u32, Timestamp), String> {
            match self.state.load(Ordering::SeqCst) {
                FAILS => Err("it is away".to_owned()),
                HANGS => std::future::pending().await,
                _ => {
                    let until = self.clock.now().plus(Duration::from_secs(100));
                    Ok((self.next.fetch_add(1, Ordering::SeqCst), until))
                }
            }
        }

        fn again(why: String) -> String {
            format!("again: {why}")
        }
    }

    #[tokio::test]
    async fn the_last_one_is_given_while_another_one_is_late() {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let (next, state) = (Arc::default(), Arc::new(AtomicU32::new(GOOD)));
        let numbers = Numbers { clock: clock.clone(), next, state: state.clone() };
        let kept = Kept::new(numbers, clock.clone());
        let be = |what| state.store(what, Ordering::SeqCst);
        let pass = |seconds| clock.advance(Duration::from_secs(seconds));
        let get = async || kept.get("a").await.map(|(number, _)| number);
        assert_eq!((get().await, get().await), (Ok(0), Ok(0)));
        pass(60);
        be(HANGS);
        assert_eq!((get().await, get().await), (Ok(0), Ok(0)));
        tokio::task::yield_now().await;
        pass(35);
        be(FAILS);
        assert_eq!(get().await, Err("it is away".to_owned()));
        assert_eq!(get().await, Err("again: it is away".to_owned()));
        pass(11);
        be(GOOD);
        assert_eq!(get().await, Ok(1));
        pass(60);
        assert_eq!(get().await, Ok(1));
        tokio::task::yield_now().await;
        assert_eq!(get().await, Ok(2));
        // With little of its life left whoever asks waits for another one, and has the last one if none comes.
        pass(80);
        be(FAILS);
        assert_eq!(get().await, Ok(2));
        be(GOOD);
        assert_eq!(get().await, Ok(2));
        be(HANGS);
        pass(5);
        assert_eq!(get().await, Ok(2));
    }
}
