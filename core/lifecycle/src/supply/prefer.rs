//! What steers a VO's pilots is asked, where pilots could go.

use super::place::{Place, cores};
use crate::{Lifecycle, LifecycleError};
use spinor_model::{
    id::{ClassId, VoName},
    policy::{Fact, NoPolicy, QueueStanding},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Pilots that found no work longer ago are forgotten.
const EMPTY: i64 = 3_600_000;

impl Lifecycle {
    /// Weighs queues as the VO's policy says. One that breaks steers nothing: jobs must not wait for it.
    pub(super) async fn prefer(
        &self,
        vo: &VoName,
        places: &mut [Place<'_>],
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<(), LifecycleError> {
        let policy = match self.policies.supply(vo) {
            Ok(policy) => policy,
            Err(NoPolicy::Unbound { .. } | NoPolicy::Off { .. }) => return Ok(()),
            Err(none) => {
                tracing::warn!(%vo, %none, "nothing steers pilots");
                return Ok(());
            }
        };
        let mut open: Vec<_> = places.iter_mut().filter(|place| place.lacks(unmet)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let (queues, facts) = (self.standings(vo, &open, unmet).await?, self.facts(vo).await?);
        let decider = policy.decider().clone();
        let weights = tokio::task::spawn_blocking(move || policy.prefer(&queues, &facts)).await?;
        match weights {
            Ok(weights) => {
                for (place, weight) in open.iter_mut().zip(weights) {
                    place.weight = Some(weight);
                    if weight == 0.0 {
                        place.closed = Some(format!("{decider} sends none there"));
                    }
                }
            }
            Err(error) => tracing::warn!(%vo, %error, "nothing steers pilots"),
        }
        Ok(())
    }

    async fn standings(
        &self,
        vo: &VoName,
        places: &[&mut Place<'_>],
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<Vec<QueueStanding>, LifecycleError> {
        let empty = self.store.empty_pilots(vo, Timestamp(self.now().0 - EMPTY)).await?;
        let standing = |place: &&mut Place<'_>| {
            let own = empty.iter().find(|(ce, queue, _)| ce == place.ce && queue == place.name);
            QueueStanding {
                offer: place.offer.clone(),
                demand_cores: cores(&place.fits, unmet),
                waiting: place.coming,
                running: place.here.saturating_sub(place.coming),
                empty: own.map_or(0, |(.., pilots)| *pilots),
            }
        };
        Ok(places.iter().map(standing).collect())
    }

    async fn facts(&self, vo: &VoName) -> Result<Vec<Fact>, LifecycleError> {
        let told = self.store.facts(vo, self.now()).await?;
        Ok(told.into_iter().map(|told| told.fact).collect())
    }
}
