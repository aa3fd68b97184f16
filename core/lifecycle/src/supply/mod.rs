//! Demand gets pilots: what could run where, minus what is on its way, over all queues together.

mod backoff;
mod clean;
mod follow;
mod operate;
mod place;
mod prefer;
mod probe;
mod room;
mod send;

use crate::{Lifecycle, LifecycleError, lock};
pub use backoff::Backoffs;
use futures::future::{join_all, try_join_all};
pub use operate::PilotTrouble;
pub use place::QueueReport;
use place::{Place, share};
pub use probe::{NoProbe, Probe, Step};
use spinor_model::{id::VoName, registry::VoDocument};
use std::sync::Arc;

impl Lifecycle {
    /// One round of supply for every VO. A VO's trouble is its own, and CEs do not wait for each other.
    pub async fn supply(&self) -> Result<(), LifecycleError> {
        let documents = self.documents();
        let rounds = documents.values().map(async |document| {
            if let Err(error) = self.supply_vo(document).await {
                tracing::warn!(vo = %document.vo, %error, "no pilots were sent");
            }
        });
        join_all(rounds).await;
        Ok(())
    }

    async fn supply_vo(&self, document: &Arc<VoDocument>) -> Result<(), LifecycleError> {
        let vo = &document.vo;
        let pilots = self.store.pilots(Some(vo), false).await?;
        self.follow(vo, &pilots).await?;
        let mut unmet = self.waiting(vo);
        let pilots = self.store.pilots(Some(vo), false).await?;
        let mut places = self.places(document, &pilots, &unmet).await?;
        for place in &mut places {
            place.serve_coming(&mut unmet);
        }
        self.ask_for_room(vo, &mut places, &unmet).await;
        if let Err(error) = self.prefer(vo, &mut places, &unmet).await {
            tracing::warn!(%vo, %error, "nothing steers pilots");
        }
        share(&mut unmet, &mut places);
        let sent = try_join_all(places.iter().map(|place| self.send(vo, place))).await?;
        let now = self.now();
        let report = |(place, sent): (&Place<'_>, u32)| {
            let silent = lock(&self.silent).get(&(vo.clone(), place.ce.clone())).cloned();
            place.report(now, sent, silent)
        };
        let told = places.iter().zip(sent).map(report).collect();
        lock(&self.supplied).insert(vo.clone(), told);
        Ok(())
    }

    /// What the last round of supply did for a VO, and why.
    pub fn supplied(&self, vo: &VoName) -> Vec<QueueReport> {
        lock(&self.supplied).get(vo).cloned().unwrap_or_default()
    }
}
