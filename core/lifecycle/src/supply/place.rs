//! A queue as supply sees it, and how what waits is shared out over queues.

use spinor_model::{
    id::{CeName, ClassId, QueueName},
    offer::Offer,
    registry::{Queue, VoDocument},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Pilots that a queue gets in one round, so that rounds end.
const MOST_AT_ONCE: u32 = 500;

/// A queue as supply sees it.
pub(super) struct Place<'a> {
    pub(super) ce: &'a CeName,
    pub(super) name: &'a QueueName,
    pub(super) queue: &'a Queue,
    /// Whether workers there reach no network.
    pub(super) push: bool,
    pub(super) offer: Offer,
    /// Seconds until a downtime, if one was announced.
    pub(super) until: Option<u64>,
    /// Classes that may go there, the first first.
    pub(super) fits: Vec<Fit>,
    /// How many of the first of them have no job left.
    pub(super) served: usize,
    /// Pilots on their way there.
    pub(super) coming: u32,
    /// Pilots there and on their way.
    pub(super) here: u32,
    /// Pilots that it may still get.
    pub(super) room: u32,
    /// Jobs waiting that could go there.
    pub(super) demand: u64,
    /// Pilots that it gets.
    pub(super) wanted: u32,
    /// How many pilots it is to have, in proportion to others, if the VO has something to say on that.
    pub(super) weight: Option<f64>,
    /// What the room is bounded by, if not by `max_pilots`.
    pub(super) limit: Option<String>,
    /// Why it gets none, whatever waits.
    pub(super) closed: Option<String>,
}

/// What a job of a class takes of a pilot.
pub(super) struct Fit {
    pub(super) class: ClassId,
    pub(super) cores: u64,
    pub(super) memory_mb: u64,
}

/// What a round of supply did for a queue.
#[derive(Debug, Clone)]
pub struct QueueReport {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub ce: CeName,
    /// Which.
    pub queue: QueueName,
    /// Jobs waiting that could go there.
    pub demand: u64,
    /// Pilots that were on their way.
    pub coming: u32,
    /// Pilots that were there, with those on their way.
    pub here: u32,
    /// Pilots that were sent.
    pub sent: u32,
    /// Why not more.
    pub why: String,
}

impl<'a> Place<'a> {
    /// A queue of which nothing is known yet.
    pub(super) fn one(
        document: &VoDocument,
        ce: &'a CeName,
        name: &'a QueueName,
        queue: &'a Queue,
        offer: Offer,
    ) -> Self {
        let push = document.ces.get(ce).is_some_and(|ce| ce.push);
        let (fits, served, coming, here, demand, wanted) = (Vec::new(), 0, 0, 0, 0, 0);
        let (room, limit, closed, until) = (queue.max_pilots, None, None, None);
        Self {
            ce,
            name,
            queue,
            push,
            offer,
            until,
            fits,
            served,
            coming,
            here,
            room,
            demand,
            wanted,
            weight: None,
            limit,
            closed,
        }
    }

    /// Lessens the room, and remembers why.
    pub(super) fn limit(&mut self, most: Option<u32>, why: &str) {
        if let Some(most) = most.filter(|most| *most < self.room) {
            (self.room, self.limit) = (most, Some(why.to_owned()));
        }
    }

    /// Takes what a pilot will serve from what waits; whether it will serve any.
    fn serve_one(&mut self, unmet: &mut BTreeMap<ClassId, u64>) -> bool {
        let (mut cores, mut memory) = (u64::from(self.queue.cores), self.queue.memory_mb);
        let served = |fit: &Fit| unmet.get(&fit.class).is_none_or(|jobs| *jobs == 0);
        self.served += self.fits[self.served..].iter().take_while(|fit| served(fit)).count();
        let mut any = false;
        for fit in &self.fits[self.served..] {
            let Some(jobs) = unmet.get_mut(&fit.class) else { continue };
            let by_memory = memory.checked_div(fit.memory_mb).unwrap_or(u64::MAX);
            let taken = (*jobs).min(cores / fit.cores).min(by_memory);
            *jobs -= taken;
            cores -= taken * fit.cores;
            memory -= taken * fit.memory_mb;
            any |= taken > 0;
            if cores == 0 {
                break;
            }
        }
        any
    }

    /// Takes what pilots on their way will serve from what waits.
    pub(super) fn serve_coming(&mut self, unmet: &mut BTreeMap<ClassId, u64>) {
        for _ in 0..self.coming {
            if !self.serve_one(unmet) {
                break;
            }
        }
    }

    /// Whether anything is left that it could get a pilot for.
    pub(super) fn lacks(&self, unmet: &BTreeMap<ClassId, u64>) -> bool {
        let waits = |fit: &Fit| unmet.get(&fit.class).is_some_and(|jobs| *jobs > 0);
        self.closed.is_none() && self.room > 0 && self.fits.iter().any(waits)
    }

    /// Wants one pilot more, if it would find work; whether it would.
    fn take_one(&mut self, unmet: &mut BTreeMap<ClassId, u64>) -> bool {
        let open = self.closed.is_none() && self.wanted < self.room.min(MOST_AT_ONCE);
        let more = open && self.serve_one(unmet);
        self.wanted += u32::from(more);
        more
    }

    /// `silent` is why there is no word from the CE on its pilots.
    pub(super) fn report(&self, at: Timestamp, sent: u32, silent: Option<String>) -> QueueReport {
        let Self { ce, name, coming, here, demand, wanted, room, .. } = *self;
        let why = match &self.closed {
            Some(why) => why.clone(),
            None if demand == 0 => "no job waits that could go there".to_owned(),
            None if sent < wanted => {
                "the CE did not take them all: see its pilots that ended".to_owned()
            }
            None if wanted == room => self
                .limit
                .clone()
                .unwrap_or_else(|| format!("max_pilots ({}) is reached", self.queue.max_pilots)),
            None if wanted == MOST_AT_ONCE => format!("{MOST_AT_ONCE} at a time"),
            None => "the rest is served by pilots on their way, here or elsewhere".to_owned(),
        };
        let why = match silent.filter(|_| self.closed.is_none()) {
            Some(silent) => format!("{why}; no word on its pilots: {silent}"),
            None => why,
        };
        let (ce, queue) = (ce.clone(), name.clone());
        QueueReport { at, ce, queue, demand, coming, here, sent, why }
    }
}

/// Cores that waiting jobs of some classes ask for.
pub(super) fn cores(fits: &[Fit], unmet: &BTreeMap<ClassId, u64>) -> u64 {
    fits.iter().filter_map(|fit| Some(unmet.get(&fit.class)? * fit.cores)).sum()
}

/// Shares what waits out over queues, a pilot at a time: to the one that gets the fewest, or, where queues are
/// weighed, has the fewest by its weight; of several to the one that is least full.
pub(super) fn share(unmet: &mut BTreeMap<ClassId, u64>, places: &mut [Place<'_>]) {
    let full =
        |place: &Place<'_>| u64::from(place.here) * 1000 / u64::from(place.queue.max_pilots.max(1));
    places.sort_by_key(full);
    let mut open: Vec<&mut Place<'_>> = places.iter_mut().collect();
    let next = |place: &Place<'_>| match place.weight {
        None => f64::from(place.wanted) + 1.0,
        Some(weight) => (f64::from(place.here + place.wanted) + 1.0) / weight,
    };
    while let Some(first) = (0..open.len()).min_by(|a, b| next(open[*a]).total_cmp(&next(open[*b])))
    {
        // What found none now finds none later: what waits only gets less.
        if !open[first].take_one(unmet) {
            open.remove(first);
        }
    }
}
