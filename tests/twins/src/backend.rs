use crate::{TwinSpool, decider};
use async_trait::async_trait;
use spinor_model::{
    id::{QueueName, Stamp},
    policy::{
        ComputingBackend, Decider, Effect, Effectful, Exchange, PilotRequest, PilotStatus,
        PilotStream, PolicyError, Room, Spool, Submission,
    },
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes every pilot and runs none. A test says what becomes of them.
pub struct TwinBackend {
    decider: Decider,
    pilots: Mutex<Vec<(PilotRequest, PilotStatus)>>,
    cuts_off: Mutex<bool>,
    output: Mutex<String>,
    /// Its files beside pilots.
    pub spool: TwinSpool,
}

impl Default for TwinBackend {
    fn default() -> Self {
        let decider = decider("computing/twin", "0.1.0");
        Self {
            decider,
            pilots: Mutex::default(),
            cuts_off: Mutex::default(),
            output: Mutex::default(),
            spool: TwinSpool::default(),
        }
    }
}

impl TwinBackend {
    fn pilots(&self) -> MutexGuard<'_, Vec<(PilotRequest, PilotStatus)>> {
        self.pilots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pilots that were submitted.
    pub fn submitted(&self) -> Vec<PilotRequest> {
        self.pilots().iter().map(|(request, _)| request.clone()).collect()
    }

    /// From now on submissions get here, and their answers are lost.
    pub fn cut_off(&self, cuts_off: bool) {
        *self.cuts_off.lock().unwrap_or_else(PoisonError::into_inner) = cuts_off;
    }

    /// This is what every pilot wrote.
    pub fn write(&self, text: &str) {
        *self.output.lock().unwrap_or_else(PoisonError::into_inner) = text.to_owned();
    }

    /// All pilots come to this.
    pub fn end_all(&self, status: PilotStatus) {
        for (_, present) in self.pilots().iter_mut() {
            *present = status.clone();
        }
    }
}

#[async_trait]
impl Effectful for TwinBackend {
    fn decider(&self) -> &Decider {
        &self.decider
    }

    async fn again(&self, _: &Effect, _: &[Exchange]) -> Result<Vec<String>, PolicyError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ComputingBackend for TwinBackend {
    fn spool(&self) -> Option<&dyn Spool> {
        Some(&self.spool)
    }

    async fn capacity(&self, queues: &[QueueName]) -> Result<Vec<Room>, PolicyError> {
        Ok(queues
            .iter()
            .map(|queue| Room { queue: queue.clone(), free: None, waiting: None })
            .collect())
    }

    async fn submit(&self, pilots: &[PilotRequest]) -> Result<Vec<Submission>, PolicyError> {
        let cuts_off = *self.cuts_off.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |request: &PilotRequest| {
            self.pilots().push((request.clone(), PilotStatus::Waiting));
            match cuts_off {
                true => Submission::Unknown("cut off".to_owned()),
                false => Submission::Submitted(request.stamp.to_string()),
            }
        };
        Ok(pilots.iter().map(take).collect())
    }

    async fn find(&self, stamps: &[Stamp]) -> Result<Vec<Option<String>>, PolicyError> {
        let here = |stamp: &Stamp| self.pilots().iter().any(|(p, _)| p.stamp == *stamp);
        Ok(stamps.iter().map(|stamp| here(stamp).then(|| stamp.to_string())).collect())
    }

    async fn status(&self, references: &[String]) -> Result<Vec<PilotStatus>, PolicyError> {
        let pilots = self.pilots();
        let status = |reference: &String| {
            let found = pilots.iter().find(|(p, _)| p.stamp.as_str() == reference);
            found.map_or(PilotStatus::Unknown("never seen".to_owned()), |(_, s)| s.clone())
        };
        Ok(references.iter().map(status).collect())
    }

    async fn cancel(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        Ok(vec![None; references.len()])
    }

    async fn output(
        &self,
        _: &str,
        _: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PolicyError> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(output.bytes().skip(offset as usize).take(max as usize).collect())
    }

    async fn clean(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        Ok(vec![None; references.len()])
    }
}
