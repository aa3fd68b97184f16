use crate::decider;
use async_trait::async_trait;
use spinor_model::{
    policy::{AccountingSink, Decider, Delivery, Effect, Effectful, Exchange, PolicyError},
    usage::Ack,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps what it gets; answers as a test says.
pub struct TwinSink {
    decider: Decider,
    batches: Mutex<Vec<Vec<u64>>>,
    answer: Mutex<Option<Ack>>,
}

impl Default for TwinSink {
    fn default() -> Self {
        let decider = decider("accounting/twin", "0.1.0");
        Self { decider, batches: Mutex::default(), answer: Mutex::default() }
    }
}

impl TwinSink {
    fn locked(&self) -> MutexGuard<'_, Vec<Vec<u64>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sequences of each batch that it got.
    pub fn batches(&self) -> Vec<Vec<u64>> {
        self.locked().clone()
    }

    /// Answers so to every record; `Stored` if none is given.
    pub fn answer(&self, ack: Option<Ack>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = ack;
    }
}

#[async_trait]
impl Effectful for TwinSink {
    fn decider(&self) -> &Decider {
        &self.decider
    }

    async fn again(&self, _: &Effect, _: &[Exchange]) -> Result<Vec<String>, PolicyError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl AccountingSink for TwinSink {
    async fn deliver(&self, records: &[Delivery]) -> Result<Vec<Ack>, PolicyError> {
        self.locked().push(records.iter().map(|record| record.sequence).collect());
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(vec![answer.unwrap_or(Ack::Stored); records.len()])
    }
}
