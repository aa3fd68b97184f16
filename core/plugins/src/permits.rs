//! How many pure calls may run at a time, so that no VO takes all cores.

use std::sync::{Condvar, Mutex, PoisonError};

/// A counting semaphore for threads.
#[derive(Debug)]
pub struct Permits {
    free: Mutex<u32>,
    returned: Condvar,
}

/// The right to run, given back when dropped.
pub struct Permit<'a>(&'a Permits);

impl Permits {
    /// So many at a time.
    pub fn new(count: u32) -> Self {
        Self { free: Mutex::new(count.max(1)), returned: Condvar::new() }
    }

    /// Waits for the right to run.
    pub fn take(&self) -> Permit<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}
