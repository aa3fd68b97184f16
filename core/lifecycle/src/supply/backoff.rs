//! Queues that are left alone for a while, and those that are closed.

use super::place::Place;
use crate::{Lifecycle, lock};
use spinor_model::{
    id::{CeName, QueueName, VoName},
    registry::{Banned, VoDocument},
    time::Timestamp,
};
use spinor_store::PilotRecord;
use std::{collections::HashMap, time::Duration};

/// Queues whose pilots found no work, or that refused some.
pub type Backoffs = HashMap<(VoName, CeName, QueueName), Backoff>;

/// How long to leave a queue alone.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    failures: u32,
    until: Timestamp,
    why: &'static str,
}

const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

impl Lifecycle {
    /// Why a queue gets no pilots, whatever waits.
    pub(super) fn closed(&self, document: &VoDocument, place: &Place<'_>) -> Option<String> {
        let Place { ce, name, .. } = place;
        match document.ban_of(ce) {
            Some(site @ Banned::Site(_)) => return Some(format!("{site} is banned")),
            Some(Banned::Ce(_)) => return Some("the CE is banned".to_owned()),
            None => {}
        }
        if let Err(error) = self.policies.backend(&document.vo, ce, name) {
            return Some(error.to_string());
        }
        if let Some(why) = self.unheard(&document.vo, place) {
            return Some(why);
        }
        let key = (document.vo.clone(), (*ce).clone(), (*name).clone());
        let backoffs = lock(&self.backoffs);
        let backoff = backoffs.get(&key).filter(|backoff| backoff.until > self.now())?;
        let seconds = backoff.until.since(self.now()).as_secs() + 1;
        Some(format!("left alone for {seconds} s more: {}", backoff.why))
    }

    /// Why pilots there would not be heard.
    fn unheard(&self, vo: &VoName, place: &Place<'_>) -> Option<String> {
        if !place.push {
            return None;
        }
        match lock(&self.carried).get(&(vo.clone(), place.ce.clone())) {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(format!("files do not go there: {why}")),
            None => Some("the pilot program is not there yet".to_owned()),
        }
    }

    /// How a pilot fared: `trouble` makes its queue be left alone for a while.
    pub(crate) fn note_pilot(&self, pilot: &PilotRecord, trouble: Option<&'static str>) {
        let key = (pilot.vo.clone(), pilot.ce.clone(), pilot.queue.clone());
        match trouble {
            Some(why) => self.leave_alone(key, why),
            None => drop(lock(&self.backoffs).remove(&key)),
        }
    }

    /// Leaves a queue alone, longer each time. All that goes wrong meanwhile is one time.
    pub(crate) fn leave_alone(&self, key: (VoName, CeName, QueueName), why: &'static str) {
        let (now, mut backoffs) = (self.now(), lock(&self.backoffs));
        let backoff = backoffs.entry(key).or_insert(Backoff { failures: 0, until: now, why });
        if backoff.until <= now {
            let wait = FIRST_BACKOFF * 2u32.saturating_pow(backoff.failures.min(10));
            backoff.failures += 1;
            backoff.until = now.plus(wait.min(MAX_BACKOFF));
        }
        backoff.why = why;
    }
}
