//! Downtimes that were announced: until one begins, a CE gets only what will have ended by then, and
//! nothing while it lasts.

use crate::Lifecycle;
use spinor_model::{
    fit::fit, id::CeName, offer::Offer, policy::RequirementClass, registry::VoDocument,
    time::Timestamp,
};
use std::{collections::HashMap, sync::Arc};

/// A time in which a host is out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downtime {
    /// Its name, as a CE's `host` has it.
    pub host: String,
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
    /// In its site's words.
    pub reason: String,
}

/// A downtime that is coming, or is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Seconds until it begins.
    pub seconds: u64,
    /// When, and why.
    pub words: String,
}

/// With less time left a CE gets nothing: no job is that short.
const TOO_SHORT: u64 = 60;

impl Ahead {
    /// Whether nothing can end before it.
    pub fn closes(&self) -> bool {
        self.seconds < TOO_SHORT
    }

    /// What can be offered until then.
    pub fn bounds(&self, offer: &mut Offer) {
        offer.wall_time = offer.wall_time.min(self.seconds);
    }

    /// Whether it is what keeps a class from an offer.
    pub fn keeps(&self, class: &RequirementClass, offer: &Offer) -> bool {
        let mut bounded = offer.clone();
        self.bounds(&mut bounded);
        let fits = |offer: &Offer| fit(&class.requirement, &offer.class()).is_ok();
        fits(offer) && (self.closes() || !fits(&bounded))
    }
}

impl Lifecycle {
    /// All downtimes that are known from now on.
    pub fn set_downtimes(&self, downtimes: Vec<Downtime>) {
        let mut by_host: HashMap<String, Vec<Downtime>> = HashMap::new();
        for downtime in downtimes {
            by_host.entry(downtime.host.to_ascii_lowercase()).or_default().push(downtime);
        }
        self.downtimes.store(Arc::new(by_host));
    }

    /// Why a CE gets no jobs at the moment, if a downtime is why.
    pub fn in_downtime(&self, document: &VoDocument, ce: &CeName) -> Option<String> {
        self.downtime(document, ce).filter(Ahead::closes).map(|ahead| ahead.words)
    }

    /// The first downtime of a CE that is not over.
    pub(crate) fn downtime(&self, document: &VoDocument, ce: &CeName) -> Option<Ahead> {
        let host = document.ces.get(ce)?.host.as_deref()?;
        let (now, downtimes) = (self.now(), self.downtimes.load());
        let own = downtimes.get(&host.to_ascii_lowercase())?;
        let coming = own.iter().filter(|downtime| downtime.end > now);
        let Downtime { start, end, reason, .. } = coming.min_by_key(|downtime| downtime.start)?;
        let words = format!("downtime from {start} to {end}: {reason}");
        Some(Ahead { seconds: start.since(now).as_secs(), words })
    }
}
