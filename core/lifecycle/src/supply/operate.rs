//! What operators do with pilots.

use crate::{Lifecycle, LifecycleError};
use spinor_model::policy::{ComputingBackend, PilotStream};
use spinor_store::PilotRecord;
use std::sync::Arc;

/// Why nothing is known of, or done about, a pilot.
#[derive(Debug, thiserror::Error)]
pub enum PilotTrouble {
    /// It has no reference.
    #[error("its CE has not said yet that it has it")]
    NotThere,
    /// The CE says no.
    #[error("its CE answers: {0}")]
    NotGiven(String),
    /// Something is missing or broken.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl Lifecycle {
    pub(super) fn sender(
        &self,
        pilot: &PilotRecord,
    ) -> Result<(Arc<dyn ComputingBackend>, String), PilotTrouble> {
        let reference = pilot.reference.clone().ok_or(PilotTrouble::NotThere)?;
        let backend = self.policies.backend_that_sent(&pilot.vo, &pilot.ce, pilot.sent_by.as_ref());
        Ok((backend.map_err(LifecycleError::from)?, reference))
    }

    /// Part of what a pilot wrote, as its CE gives it.
    pub async fn pilot_output(
        &self,
        pilot: &PilotRecord,
        stream: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PilotTrouble> {
        let kept = self.store.kept_pilot_output(&pilot.stamp, stream.as_str()).await;
        if let Some(text) = kept.map_err(LifecycleError::from)? {
            let part = text.bytes().skip(usize::try_from(offset).unwrap_or(usize::MAX));
            return Ok(part.take(max as usize).collect());
        }
        let (backend, reference) = self.sender(pilot)?;
        let output = backend.output(&reference, stream, offset, max).await;
        output.map_err(|error| PilotTrouble::NotGiven(error.to_string()))
    }

    /// Has a pilot's CE end it. What it was doing is then lost, and tried again.
    pub async fn kill_pilot(&self, pilot: &PilotRecord) -> Result<(), PilotTrouble> {
        let (backend, reference) = self.sender(pilot)?;
        let answers = backend.cancel(&[reference]).await.map_err(LifecycleError::from)?;
        match answers.into_iter().flatten().next() {
            None => Ok(()),
            Some(why) => Err(PilotTrouble::NotGiven(why)),
        }
    }

    /// Tells every pilot to end.
    pub async fn cancel_pilots(&self) -> Result<(), LifecycleError> {
        for vo in self.documents().keys() {
            for pilot in self.store.pilots(Some(vo), false).await? {
                let sent_by = pilot.sent_by.as_ref();
                let backend = self.policies.backend_that_sent(vo, &pilot.ce, sent_by);
                let Ok(backend) = backend else { continue };
                if let Some(reference) = pilot.reference {
                    backend.cancel(&[reference]).await?;
                }
            }
        }
        Ok(())
    }
}
