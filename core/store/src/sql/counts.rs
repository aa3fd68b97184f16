//! Counts of many rows are remembered for a while: whoever looks at a big VO again and again must not
//! have it counted each time. Counts of few are always fresh.

use crate::{Counted, StoreError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as Turn;

/// From so many rows on, a count is remembered.
const MANY: u64 = 10_000;
/// A count is good for so many times what it took, so that at most a twentieth of a server counts.
const SHARE: u32 = 20;
/// And for no longer than this.
const LONGEST: Duration = Duration::from_secs(30);
/// Questions that are remembered.
const KEPT: usize = 1_000;

#[derive(Debug, Clone)]
struct Known {
    counted: Arc<Counted>,
    until: Instant,
}

type Slot = Arc<Turn<Option<Known>>>;

/// What was counted lately, by question.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

impl Counts {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `count` says, or said a moment ago. Of those who ask for the same many rows at the same
    /// time, one counts.
    pub async fn get(
        &self,
        question: String,
        count: impl Future<Output = Result<Counted, StoreError>>,
    ) -> Result<Arc<Counted>, StoreError> {
        let slot = self.slots().get(&question).cloned();
        let mut turn = match &slot {
            Some(slot) => Some(slot.lock().await),
            None => None,
        };
        let now = Instant::now();
        if let Some(known) = turn.as_ref().and_then(|turn| turn.as_ref())
            && known.until > now
        {
            return Ok(known.counted.clone());
        }
        let counted = Arc::new(count.await?);
        let many = counted.total >= MANY;
        let until = Instant::now() + (now.elapsed() * SHARE).min(LONGEST);
        let known = many.then(|| Known { counted: counted.clone(), until });
        match (&mut turn, known) {
            (Some(turn), known) => **turn = known,
            (None, Some(known)) => self.remember(question, known),
            (None, None) => {}
        }
        Ok(counted)
    }

    fn remember(&self, question: String, known: Known) {
        let mut slots = self.slots();
        if slots.len() >= KEPT {
            let now = Instant::now();
            let good = |slot: &Slot| {
                slot.try_lock().map_or(true, |turn| turn.as_ref().is_some_and(|k| k.until > now))
            };
            slots.retain(|_, slot| good(slot));
        }
        if slots.len() < KEPT {
            slots.insert(question, Arc::new(Turn::new(Some(known))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn many_are_counted_once_and_few_each_time() {
        let (counts, asked) = (Counts::default(), AtomicU64::new(0));
        let ask = |question: &str, rows: u64| {
            let (counts, asked, question) = (&counts, &asked, question.to_owned());
            async move {
                let count = async {
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
        // When it is old, one counts anew for all.
        counts.slots().values().for_each(|slot| {
            slot.try_lock().unwrap().as_mut().unwrap().until = Instant::now();
        });
        let (a, b) = tokio::join!(ask("many", 20_000), ask("many", 30_000));
        assert_eq!((a, b, times()), (20_000, 20_000, 1));
        // What has become few is fresh again.
        counts.slots().values().for_each(|slot| {
            slot.try_lock().unwrap().as_mut().unwrap().until = Instant::now();
        });
        assert_eq!((ask("many", 5).await, ask("many", 6).await, times()), (5, 6, 2));
    }
}
