//! What is done about the questions of one CE's pilots.

use super::errand::Errand;
use crate::lock;
use spinor_model::id::Stamp;
use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicBool},
};
use tokio::sync::Semaphore;

/// Questions of one CE's pilots that are under way at a time.
const AT_ONCE: usize = 256;

/// Of those, the ones that bring or fetch more than a chunk. Each holds a few chunks in memory.
const LARGE: usize = 8;

/// A question by its pilot and number.
pub type Key = (Stamp, u32);

/// What is done about the questions of one CE's pilots.
pub struct Desk {
    /// Questions that are being answered, or have been and still lie there.
    known: Mutex<BTreeMap<Key, Answered>>,
    /// Turns of questions.
    pub permits: Semaphore,
    /// Turns of large ones.
    pub large: Semaphore,
    /// Whether somebody looks there now.
    pub looking: AtomicBool,
    /// Whether anything lay there when somebody looked last.
    pub busy: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    NotYet,
    Yes,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
            large: Semaphore::new(LARGE),
            looking: AtomicBool::default(),
            busy: AtomicBool::default(),
        }
    }
}

impl Desk {
    /// Those of the questions there that nothing is done about yet. Answered ones that are gone are
    /// forgotten.
    pub fn new_of(&self, there: &BTreeMap<Key, u64>) -> Vec<(Key, u64)> {
        let mut known = lock(&self.known);
        known.retain(|key, answered| *answered == Answered::NotYet || there.contains_key(key));
        let new = there.iter().filter(|(key, _)| !known.contains_key(key));
        new.map(|(key, size)| (key.clone(), *size)).collect()
    }

    /// Takes questions on.
    pub fn take_on(&self, errands: &[Errand]) {
        lock(&self.known).extend(errands.iter().map(|errand| (errand.key(), Answered::NotYet)));
    }
}

/// A question that is being answered: unless it was, it is looked at again.
pub struct Pending<'a> {
    /// Where.
    pub desk: &'a Desk,
    /// Which.
    pub key: Key,
    /// Whether it was answered.
    pub answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut known = lock(&self.desk.known);
        match self.answered {
            true => drop(known.insert(self.key.clone(), Answered::Yes)),
            false => drop(known.remove(&self.key)),
        }
    }
}
