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
    /// Whoever has it counts.
    turn: Arc<Turn<()>>,
}

impl Known {
    fn is_within(&self, times: u32) -> bool {
        self.at.elapsed() < self.good * times
    }
}

/// What was counted lately, by question.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl Counts {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, question: &str) -> Option<Known> {
        self.all().get(question).cloned()
    }

    /// What `count` says, or said a moment ago. Of those who ask for the same many rows at the same
    /// time, one counts, and nobody waits while what was said is not too old.
    pub async fn get(
        &self,
        question: String,
        count: impl Future<Output = Result<Counted, StoreError>> + Send + 'static,
    ) -> Result<Arc<Counted>, StoreError> {
        let Some(known) = self.known(&question) else {
            return self.clone().count(question, count, None).await;
        };
        if known.is_within(1) {
            return Ok(known.counted);
        }
        if known.is_within(2) {
            if let Ok(turn) = known.turn.try_lock_owned() {
                let again = self.clone().count(question, count, Some(turn));
                tokio::spawn(async {
                    if let Err(error) = again.await {
                        tracing::warn!(%error, "not counted anew");
                    }
                });
            }
            return Ok(known.counted);
        }
        let turn = known.turn.lock_owned().await;
        match self.known(&question) {
            // Whoever had the turn before has counted.
            Some(known) if known.is_within(1) => Ok(known.counted),
            _ => self.clone().count(question, count, Some(turn)).await,
        }
    }

    async fn count(
        self,
        question: String,
        count: impl Future<Output = Result<Counted, StoreError>>,
        _turn: Option<OwnedMutexGuard<()>>,
    ) -> Result<Arc<Counted>, StoreError> {
        let began = Instant::now();
        let counted = Arc::new(count.await?);
        self.remember(question, &counted, (began.elapsed() * SHARE).min(LONGEST));
        Ok(counted)
    }

    fn remember(&self, question: String, counted: &Arc<Counted>, good: Duration) {
        let mut all = self.all();
        if counted.total < MANY {
            all.remove(&question);
            return;
        }
        if all.len() >= KEPT {
            all.retain(|_, known| known.is_within(2));
        }
        let turn = match all.get(&question) {
            Some(known) => known.turn.clone(),
            None if all.len() >= KEPT => return,
            None => Arc::default(),
        };
        all.insert(question, Known { counted: counted.clone(), at: Instant::now(), good, turn });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Makes what is known so many times older than it is good.
    fn age(counts: &Counts, times: f64) {
        counts.all().values_mut().for_each(|known| {
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
        assert_eq!((a, b, times()), (1, 2, 2), "few do not wait for each other");
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
