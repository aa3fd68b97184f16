//! Usage records reach their sinks: in order, a batch repeated unchanged until it is acked.

use crate::{Lifecycle, LifecycleError};
use spinor_model::{
    id::{SinkName, VoName},
    policy::AccountingSink,
    usage::Ack,
};
use spinor_store::SequencedUsage;
use std::sync::Arc;

/// Records in a batch.
const BATCH: u32 = 500;

impl Lifecycle {
    /// One round for every sink of every VO; how many records were delivered.
    pub async fn deliver_usage(&self) -> Result<usize, LifecycleError> {
        let mut delivered = 0;
        for vo in self.documents().keys() {
            for (name, sink) in self.policies.sinks(vo) {
                delivered += self.deliver_batch(vo, &name, &sink).await?;
            }
        }
        Ok(delivered)
    }

    async fn deliver_batch(
        &self,
        vo: &VoName,
        name: &SinkName,
        sink: &Arc<dyn AccountingSink>,
    ) -> Result<usize, LifecycleError> {
        let batch = self.store.next_batch(vo, name, BATCH).await?;
        let Some(before) = batch.records.first().map(|first| first.sequence - 1) else {
            return Ok(0);
        };
        let progress = match sink.deliver(&batch.records).await {
            Ok(acks) => progress(&batch.records, &acks),
            Err(error) => Progress { problem: Some(error.to_string()), ..Progress::default() },
        };
        let Progress { count, refused, problem } = progress;
        if let Some(problem) = &problem {
            tracing::warn!(%vo, sink = %name, problem, "usage records wait");
        }
        let upto = count.checked_sub(1).map_or(before, |last| batch.records[last].sequence);
        self.store.delivered(vo, name, upto, &refused, problem.as_deref(), self.now()).await?;
        Ok(count)
    }
}

#[derive(Default)]
struct Progress {
    count: usize,
    refused: Vec<(u64, String)>,
    problem: Option<String>,
}

/// How far the acks reach: up to the first record that is to come later.
fn progress(records: &[SequencedUsage], acks: &[Ack]) -> Progress {
    let mut progress = Progress::default();
    for (record, ack) in records.iter().zip(acks) {
        match ack {
            Ack::Stored | Ack::Repeated => {}
            Ack::Refused(why) => progress.refused.push((record.sequence, why.clone())),
            Ack::Later(why) => {
                progress.problem = Some(why.clone());
                return progress;
            }
        }
        progress.count += 1;
    }
    progress
}
