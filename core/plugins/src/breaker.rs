//! When a version is asked no more: it broke too often, of late.
//!
//! What a guest answers, an error of its own included, is good. It trips when at least three calls
//! in a window broke and either nothing went well meanwhile, or half of the calls broke on different
//! inputs: so one poisonous input, asked again and again, does not disable a version that answers
//! the others. After a while it is tried again; if it breaks at once, it rests twice as long.

use serde::Serialize;
use spinor_model::time::{Clock, Timestamp};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const WINDOW: Duration = Duration::from_secs(60);
const MAX_CALLS: usize = 64;
const FAULTS: usize = 3;
/// So many good calls, and earlier trips are forgotten.
const FORGIVEN: u64 = 64;
const REST: Duration = Duration::from_secs(60);
const MAX_REST: Duration = Duration::from_secs(3600);

/// The breaker of one version under one set of settings in one place.
pub struct Breaker {
    clock: Arc<dyn Clock>,
    open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The time of each call of late, and which input broke it if it broke.
    calls: VecDeque<(Timestamp, Option<u64>)>,
    good: u64,
    faults: u64,
    trips: u32,
    good_since_trip: u64,
    rests_until: Timestamp,
    last_fault: String,
}

/// How a version has been doing in its place, since this server put it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Calls that were answered.
    pub good: u64,
    /// Calls that broke.
    pub faults: u64,
    /// How often it has tripped.
    pub trips: u32,
    /// Its last fault, if there was one.
    pub last_fault: String,
    /// Until when it is asked no more, if it has tripped.
    pub rests_until: Option<Timestamp>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call was answered.
    pub fn good(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.good += 1;
        state.good_since_trip += 1;
        state.note(now, None);
        if state.good_since_trip >= FORGIVEN {
            state.trips = 0;
        }
    }

    /// A call broke on an input; whether that tripped it.
    pub fn fault(&self, input: u64, reason: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        state.faults += 1;
        reason.clone_into(&mut state.last_fault);
        state.note(now, Some(input));
        if self.open.load(Ordering::Acquire) || !state.enough() {
            return false;
        }
        let rest = REST.saturating_mul(2u32.saturating_pow(state.trips.min(10))).min(MAX_REST);
        state.rests_until = now.plus(rest);
        state.trips += 1;
        state.good_since_trip = 0;
        state.calls.clear();
        self.open.store(true, Ordering::Release);
        true
    }

    /// Why it is not to be asked now, if so.
    pub fn tripped(&self) -> Option<String> {
        if !self.open.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        if state.rests_until <= self.clock.now() {
            self.open.store(false, Ordering::Release);
            return None;
        }
        Some(state.last_fault.clone())
    }

    /// Whether it has ever answered.
    pub fn has_answered(&self) -> bool {
        self.state().good > 0
    }

    /// How it has been doing.
    pub fn health(&self) -> Health {
        let resting = self.tripped().is_some();
        let state = self.state();
        Health {
            good: state.good,
            faults: state.faults,
            trips: state.trips,
            last_fault: state.last_fault.clone(),
            rests_until: resting.then_some(state.rests_until),
        }
    }
}

impl State {
    fn note(&mut self, now: Timestamp, input: Option<u64>) {
        self.calls.push_back((now, input));
        let old = |(time, _): &(Timestamp, _)| now.since(*time) > WINDOW;
        while self.calls.len() > MAX_CALLS || self.calls.front().is_some_and(old) {
            self.calls.pop_front();
        }
    }

    fn enough(&self) -> bool {
        let broken: Vec<u64> = self.calls.iter().filter_map(|(_, input)| *input).collect();
        let different: BTreeSet<u64> = broken.iter().copied().collect();
        let all = broken.len() == self.calls.len();
        // Tried again after a rest, one fault is enough, unless anything has gone well since.
        let on_probation = self.trips > 0 && self.good_since_trip == 0;
        (all && (on_probation || broken.len() >= FAULTS))
            || (different.len() >= FAULTS && broken.len() * 2 >= self.calls.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::time::ManualClock;

    fn breaker() -> (Breaker, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (Breaker::new(clock.clone()), clock)
    }

    #[test]
    fn three_faults_and_nothing_good_trip_it_and_it_is_tried_again_after_a_rest() {
        let (breaker, clock) = breaker();
        assert!(!breaker.fault(1, "a") && !breaker.fault(1, "b"));
        assert!(breaker.fault(1, "c"));
        assert_eq!(breaker.tripped().unwrap(), "c");
        clock.advance(REST);
        assert_eq!(breaker.tripped(), None);
        assert!(breaker.fault(1, "d"), "one fault after a rest is enough");
        clock.advance(REST);
        assert!(breaker.tripped().is_some(), "it rests twice as long");
        clock.advance(REST);
        assert_eq!(breaker.tripped(), None);
    }

    #[test]
    fn one_poisonous_input_does_not_trip_a_version_that_answers_the_others() {
        let (breaker, _) = breaker();
        for _ in 0..1_000 {
            breaker.good();
            assert!(!breaker.fault(7, "poison"));
        }
        assert!(breaker.has_answered());
    }

    #[test]
    fn faults_on_many_inputs_trip_it_though_others_go_well() {
        let (breaker, _) = breaker();
        let tripped = (0..10).any(|input| {
            breaker.good();
            breaker.fault(input, "often")
        });
        assert!(tripped);
    }

    #[test]
    fn a_version_that_did_well_after_its_rest_is_off_probation() {
        let (breaker, clock) = breaker();
        for _ in 0..3 {
            breaker.fault(1, "a");
        }
        clock.advance(REST);
        assert_eq!(breaker.tripped(), None);
        breaker.good();
        clock.advance(WINDOW * 100);
        assert!(!breaker.fault(1, "one, long after"), "one fault is no trip any more");
    }

    #[test]
    fn old_faults_are_forgotten() {
        let (breaker, clock) = breaker();
        for _ in 0..10 {
            assert!(!breaker.fault(1, "now and then"));
            clock.advance(WINDOW / 2 + Duration::from_secs(1));
        }
    }
}
