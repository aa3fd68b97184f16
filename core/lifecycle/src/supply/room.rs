//! What could go to each queue, and how much room each has.

use super::place::{Fit, Place};
use crate::{Lifecycle, LifecycleError, downtimes::Ahead, index::Candidate, lock};
use futures::future::join_all;
use spinor_model::{
    id::{CeName, ClassId, QueueName, VoName},
    registry::VoDocument,
};
use spinor_store::PilotRecord;
use std::collections::BTreeMap;

impl Lifecycle {
    /// Queues, how much room each has, and what could run there.
    pub(super) async fn places<'a>(
        &self,
        document: &'a VoDocument,
        pilots: &[PilotRecord],
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<Vec<Place<'a>>, LifecycleError> {
        let mut places = Vec::new();
        for (ce, name, queue, mut offer) in document.queues() {
            let downtime = self.downtime(document, ce);
            downtime.iter().for_each(|ahead| ahead.bounds(&mut offer));
            let here = pilots.iter().filter(|p| p.ce == *ce && p.queue == *name);
            let coming = here.clone().filter(|pilot| pilot.status.is_on_its_way()).count();
            let count = |pilots: usize| u32::try_from(pilots).unwrap_or(u32::MAX);
            let (coming, here) = (count(coming), count(here.count()));
            let mut place = Place::one(document, ce, name, queue, offer.class());
            (place.coming, place.here) = (coming, here);
            place.room = queue.max_pilots.saturating_sub(here);
            place.until = downtime.as_ref().map(|ahead| ahead.seconds);
            let down = downtime.filter(Ahead::closes).map(|ahead| ahead.words);
            place.closed = down.or_else(|| self.closed(document, &place));
            let more = queue.max_waiting.map(|most| most.saturating_sub(coming));
            place.limit(more, "max_waiting is reached");
            self.weigh(&document.vo, &mut place, unmet).await?;
            places.push(place);
        }
        Ok(places)
    }

    /// Asks the rule which classes may go to a queue, in the order in which they would.
    async fn weigh(
        &self,
        vo: &VoName,
        place: &mut Place<'_>,
        unmet: &BTreeMap<ClassId, u64>,
    ) -> Result<(), LifecycleError> {
        if unmet.is_empty() {
            return Ok(());
        }
        let rule = self.judged(vo, &place.offer, None).await?;
        let accepted = lock(&self.index).accepted(vo, &place.offer, rule.decider());
        let fit = |candidate: &Candidate| {
            let cpu = &candidate.class.requirement.cpu;
            let (cores, memory_mb) = (u64::from(cpu.num_cores.min.max(1)), cpu.ram_mb.request);
            Fit { class: candidate.class.id, cores, memory_mb }
        };
        place.fits = accepted.iter().map(fit).collect();
        place.demand = place.fits.iter().filter_map(|fit| unmet.get(&fit.class)).sum();
        Ok(())
    }

    /// Asks CEs for room, where something would be sent. One that does not answer gets nothing.
    pub(super) async fn ask_for_room(
        &self,
        vo: &VoName,
        places: &mut [Place<'_>],
        unmet: &BTreeMap<ClassId, u64>,
    ) {
        let mut by_ce: BTreeMap<CeName, Vec<&mut Place<'_>>> = BTreeMap::new();
        for place in places.iter_mut().filter(|place| place.lacks(unmet)) {
            by_ce.entry(place.ce.clone()).or_default().push(place);
        }
        join_all(by_ce.into_iter().map(|(ce, places)| self.ask_ce(vo, ce, places))).await;
    }

    async fn ask_ce(&self, vo: &VoName, ce: CeName, mut places: Vec<&mut Place<'_>>) {
        let queues: Vec<QueueName> = places.iter().map(|place| place.name.clone()).collect();
        let Some(first) = queues.first() else { return };
        let Ok(backend) = self.policies.backend(vo, &ce, first) else { return };
        match backend.capacity(&queues).await {
            Ok(rooms) => {
                for (place, room) in places.iter_mut().zip(rooms) {
                    place.limit(room.free, "the CE says that it is full");
                    let more = |most: u32| room.waiting.map(|w| most.saturating_sub(w));
                    let more = place.queue.max_waiting.and_then(more);
                    place.limit(more, "max_waiting is reached");
                }
            }
            Err(error) => {
                tracing::warn!(%vo, %ce, %error, "a CE does not say how much room it has");
                for place in places {
                    place.closed = Some(format!("the CE does not answer: {error}"));
                }
            }
        }
    }
}
