//! Counts of many rows are remembered for a while: whoever looks at a big VO again and again must not
//! have it counted each time, nor wait for it. Counts of few are always fresh.

use crate::{Counted, StoreError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// From so many rows on, a count is remembered.
const MANY: u64 = 10_000;
/// A count is good for so many times what it took, so that at most a twentieth of a server counts; and as long
/// again for those who ask while it is counted anew.
const SHARE: u32 = 20;
/// And for no longer than this.
const LONGEST: Duration = Duration::from_secs(30);
/// Questions that are remembered.
const KEPT: usize = 1_000;

#[derive(Debug, Clone)]
struct Known {
    counted: Arc<Counted>,
    /// When it was counted.
    at: Instant,
    /// How long it is good.
    good: Duration,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    /// None while it is counted for the first time.
    known: Option<Known>,
    /// Whoever has it counts.
    turn: Arc<Turn<()>>,
}

impl Slot {
    /// What is known, if it is no older than so many times what it is good for.
    fn within(&self, times: u32) -> Option<Arc<Counted>> {
        let known = self.known.as_ref().filter(|known| known.at.elapsed() < known.good * times)?;
        Some(known.counted.clone())
    }

    fn is_needed(&self) -> bool {
        self.within(2).is_some() || self.turn.try_lock().is_err()
    }
}

/// What was counted lately, by question.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

impl Counts {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question's slot, and its turn if it is free; a new one, unless there are too many.
    fn slot(&self, question: &str) -> Option<(Slot, Option<OwnedMutexGuard<()>>)> {
        let mut slots = self.slots();
        if slots.len() >= KEPT && !slots.contains_key(question) {
            slots.retain(|_, slot| slot.is_needed());
            if slots.len() >= KEPT {
                return None;
            }
        }
        let slot = slots.entry(question.to_owned()).or_default().clone();
        let turn = slot.turn.clone().try_lock_owned().ok();
        Some((slot, turn))
    }

    /// What `count` says, or said a moment ago. Of those who ask for the same many rows at the same
    /// time, one counts, and nobody waits while what was said is not too old.
    pub async fn get(
        &self,
        question: String,
        count: impl Future<Output = Result<Counted, StoreError>> + Send + 'static,
    ) -> Result<Arc<Counted>, StoreError> {
        let Some((slot, turn)) = self.slot(&question) else { return Ok(Arc::new(count.await?)) };
        if let Some(counted) = slot.within(1) {
            return Ok(counted);
        }
        if let Some(counted) = slot.within(2) {
            if turn.is_some() {
                let again = self.clone().count(question, count);
                tokio::spawn(async {
                    let _turn = turn;
                    if let Err(error) = again.await {
                        tracing::warn!(%error, "not counted anew");
                    }
                });
            }
            return Ok(counted);
        }
        if turn.is_none() {
            // Of many rows, what is being counted is good enough; few are counted by each.
            drop(slot.turn.lock().await);
            let counted = self.slots().get(&question).and_then(|slot| slot.within(1));
            if let Some(counted) = counted {
                return Ok(counted);
            }
        }
        self.clone().count(question, count).await
    }

    async fn count(
        self,
        question: String,
        count: impl Future<Output = Result<Counted, StoreError>>,
    ) -> Result<Arc<Counted>, StoreError> {
        let began = Instant::now();
        let counted = Arc::new(count.await?);
        let good = (began.elapsed() * SHARE).min(LONGEST);
        let mut slots = self.slots();
        if counted.total < MANY {
            slots.remove(&question);
        } else {
            let known = Known { counted: counted.clone(), at: Instant::now(), good };
            slots.entry(question).or_default().known = Some(known);
        }
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Makes what is known so many times older than it is good.
    fn age(counts: &Counts, times: f64) {
        counts.slots().values_mut().filter_map(|slot| slot.known.as_mut()).for_each(|known| {
            known.good = Duration::from_secs(1);
            known.at = Instant::now() - Duration::from_secs_f64(times);
        });
    }

    #[tokio::test]
    async fn many_are_counted_once_and_few_each_time() {
        let (counts, asked) = (Counts::default(), Arc::new(AtomicU64::new(0)));
        let ask = |question: &str, rows: u64| {
            let (counts, asked, question) = (counts.clone(), asked.clone(), question.to_owned());
            async move {
                let count = async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok(Counted { total: rows, ..Counted::default() })
                };
                counts.get(question, count).await.unwrap().total
            }
        };
        let times = || asked.swap(0, Ordering::Relaxed);
        assert_eq!((ask("few", 3).await, ask("few", 4).await, times()), (3, 4, 2));
        assert_eq!((ask("many", MANY).await, ask("many", 7).await, times()), (MANY, MANY, 1));
        let (a, b) = tokio::join!(ask("few", 1), ask("few", 2));
        assert_eq!((a, b, times()), (1, 2, 2), "few are counted by each");
        let (a, b) = tokio::join!(ask("new", MANY), ask("new", 7));
        assert_eq!((a, b, times()), (MANY, MANY, 1), "many by one, also at first");
        // When it is old, it is counted anew, once, and nobody waits for that.
        age(&counts, 1.5);
        let (a, b) = tokio::join!(ask("many", 20_000), ask("many", 30_000));
        assert_eq!((a, b), (MANY, MANY));
        while ask("many", 40_000).await == MANY {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((ask("many", 40_000).await, times()), (20_000, 1));
        // When it is too old, one counts for all.
        age(&counts, 2.5);
        let (a, b) = tokio::join!(ask("many", 50_000), ask("many", 60_000));
        assert_eq!((a, b, times()), (50_000, 50_000, 1));
        // What has become few is fresh again.
        age(&counts, 2.5);
        assert_eq!((ask("many", 5).await, ask("many", 6).await, times()), (5, 6, 2));
    }
}
