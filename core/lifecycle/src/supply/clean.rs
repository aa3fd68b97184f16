//! CEs free what they keep of ended pilots, when what the failed ones wrote is here.

use crate::{Lifecycle, LifecycleError};
use futures::future::join_all;
use spinor_model::{
    id::{CeName, VoName},
    policy::{ComputingBackend, PilotStream, PolicyError},
    state::PilotState,
    time::Timestamp,
};
use spinor_store::PilotRecord;
use std::{collections::BTreeMap, time::Duration};

/// Bytes of an output that are asked for at a time.
const PART: u32 = 1 << 20;

/// Of longer outputs, what follows is not read.
const MOST: u64 = 8 << 20;

/// Bytes of an output's end that are kept.
const KEPT: usize = 64 << 10;

/// What an ended pilot left at its CE is kept so long.
const CLEAN_AFTER: Duration = Duration::from_secs(600);

/// A CE that does not free it by then never will.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Lifecycle {
    /// One round, for every CE at once.
    pub async fn clean(&self) -> Result<(), LifecycleError> {
        let age = i64::try_from(CLEAN_AFTER.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(self.now().0 - age);
        let old = self.store.uncleaned_pilots(before).await?;
        let mut by_ce: BTreeMap<(&VoName, &CeName), Vec<&PilotRecord>> = BTreeMap::new();
        for pilot in &old {
            by_ce.entry((&pilot.vo, &pilot.ce)).or_default().push(pilot);
        }
        let rounds = by_ce.into_iter().map(async |((vo, ce), pilots)| {
            for pilot in pilots {
                match self.clean_one(pilot).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%vo, %ce, %error, "what pilots left there stays");
                        break;
                    }
                }
            }
        });
        join_all(rounds).await;
        Ok(())
    }

    /// Whether it is done with this pilot.
    async fn clean_one(&self, pilot: &PilotRecord) -> Result<bool, LifecycleError> {
        let old = pilot.ended.is_some_and(|ended| self.now().since(ended) > FORGET_AFTER);
        let freed = match self.sender(pilot) {
            Ok((backend, reference)) => {
                let failed = pilot.status != PilotState::Done || pilot.jobs_run == 0;
                if failed && !self.keep_outputs(pilot, backend.as_ref(), &reference).await? && !old
                {
                    return Ok(false);
                }
                let answers = backend.clean(&[reference]).await;
                answers.is_ok_and(|answers| answers.iter().all(Option::is_none))
            }
            Err(_) => false,
        };
        if freed || old {
            self.store.set_cleaned(std::slice::from_ref(&pilot.stamp)).await?;
        }
        Ok(freed || old)
    }

    /// Keeps the ends of what a pilot wrote; not, if the CE may give them later.
    async fn keep_outputs(
        &self,
        pilot: &PilotRecord,
        backend: &dyn ComputingBackend,
        reference: &str,
    ) -> Result<bool, LifecycleError> {
        for stream in PilotStream::ALL {
            if self.store.kept_pilot_output(&pilot.stamp, stream.as_str()).await?.is_some() {
                continue;
            }
            let text = match end_of_output(backend, reference, stream).await {
                Ok(text) => text,
                Err(PolicyError::Answer { message, retry: false, .. }) => {
                    format!("its CE did not give it: {message}\n")
                }
                Err(_) => return Ok(false),
            };
            self.store.keep_pilot_output(&pilot.stamp, stream.as_str(), &text).await?;
        }
        Ok(true)
    }
}

/// Reads an output to its end, or so far as anyone would; what is left of it.
async fn end_of_output(
    backend: &dyn ComputingBackend,
    reference: &str,
    stream: PilotStream,
) -> Result<String, PolicyError> {
    let (mut end, mut offset) = (Vec::new(), 0);
    while offset < MOST {
        let bytes = backend.output(reference, stream, offset, PART).await?;
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        end.extend(bytes);
        end.drain(..end.len().saturating_sub(KEPT));
    }
    Ok(String::from_utf8_lossy(&end).into_owned())
}
