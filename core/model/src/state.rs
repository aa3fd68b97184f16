//! The states of a job and of a pilot, and every legal move between them.
//!
//! The names are DIRAC's, so that people and clients keep theirs. The table of moves is DIRAC's
//! plus the edges it forgets; `docs/adr/0002-job-states.md` lists each and why.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! states {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$vdoc])* $variant,)+ }

        impl $type {
            /// All of them, in the order of a life.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $type {
            type Err = UnknownState;
            fn from_str(text: &str) -> Result<Self, UnknownState> {
                Self::ALL.iter().copied().find(|state| state.as_str() == text).ok_or_else(|| {
                    UnknownState {
                        value: text.chars().take(40).collect(),
                        known: Self::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
                    }
                })
            }
        }
    };
}

/// A word that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no state; the states are {known}")]
pub struct UnknownState {
    value: String,
    known: String,
}

states!(
    /// Where a job is in its life.
    JobState {
        /// Stored, not yet whole.
        Submitting,
        /// Whole and taken on; a handler must still admit it.
        Received,
        /// Being checked.
        Checking,
        /// Being tried on a small scale first.
        Scouting,
        /// Its input is being brought from tape.
        Staging,
        /// Ready to be matched.
        Waiting,
        /// Claimed by a pilot.
        Matched,
        /// Its payload runs.
        Running,
        /// Its pilot has not been heard of; the attempt may revive.
        Stalled,
        /// Its payload ended; the result is being judged.
        Completing,
        /// Judged good, with requests pending.
        Completed,
        /// Ended well.
        Done,
        /// Ended badly.
        Failed,
        /// Ended by somebody's wish.
        Killed,
        /// Gone for its owner.
        Deleted,
        /// On its way to another attempt; never stored for long.
        Rescheduled,
    }
);

/// A move that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot become {to}; from {from} it can become {}", list(.from.next()))]
pub struct IllegalMove {
    /// The state it is in.
    pub from: JobState,
    /// The state that was wanted.
    pub to: JobState,
}

fn list(states: &[JobState]) -> String {
    match states {
        [] => "nothing else".to_owned(),
        states => states.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
    }
}

impl JobState {
    /// The states a job can go to from this one.
    pub fn next(self) -> &'static [JobState] {
        use JobState::*;
        match self {
            Submitting => &[Received, Checking, Failed, Deleted, Killed],
            Received => &[Scouting, Checking, Staging, Waiting, Failed, Deleted, Killed],
            Checking => {
                &[Received, Scouting, Staging, Waiting, Rescheduled, Failed, Deleted, Killed]
            }
            Scouting => &[Checking, Failed, Stalled, Killed],
            Staging => &[Checking, Waiting, Failed, Deleted, Killed],
            Waiting => &[Matched, Received, Rescheduled, Failed, Deleted, Killed],
            Matched => {
                &[Running, Waiting, Stalled, Completing, Received, Rescheduled, Failed, Killed]
            }
            Rescheduled => &[Waiting, Received, Deleted, Failed, Killed],
            Running => &[Stalled, Completing, Done, Failed, Received, Rescheduled, Killed],
            Stalled => &[Running, Completing, Received, Rescheduled, Failed, Killed],
            Completing => &[Done, Failed, Completed, Stalled, Received, Rescheduled, Killed],
            Completed => &[Done, Failed, Received, Rescheduled],
            Done | Failed | Killed => &[Received, Rescheduled, Deleted],
            Deleted => &[],
        }
    }

    /// Moves to `to`, if the table allows it.
    ///
    /// ```
    /// use spinor_model::state::JobState::*;
    /// assert_eq!(Waiting.to(Matched), Ok(Matched));
    /// assert_eq!(
    ///     Deleted.to(Running).unwrap_err().to_string(),
    ///     "a job that is Deleted cannot become Running; from Deleted it can become nothing else"
    /// );
    /// ```
    pub fn to(self, to: JobState) -> Result<JobState, IllegalMove> {
        self.next().contains(&to).then_some(to).ok_or(IllegalMove { from: self, to })
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_final(self) -> bool {
        use JobState::*;
        matches!(self, Done | Failed | Killed | Deleted)
    }

    /// Whether an attempt is under way: a pilot holds it.
    pub fn is_held_by_pilot(self) -> bool {
        use JobState::*;
        matches!(self, Matched | Running | Stalled)
    }
}

states!(
    /// Where a pilot is in its life.
    PilotState {
        /// Recorded; perhaps at its CE.
        Submitted,
        /// In the CE's queue.
        Waiting,
        /// It has called.
        Running,
        /// It ended well.
        Done,
        /// It ended badly.
        Failed,
        /// Forgotten.
        Deleted,
        /// It never ran.
        Aborted,
        /// Its CE does not say.
        Unknown,
    }
);

impl PilotState {
    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        use PilotState::*;
        matches!(self, Done | Failed | Deleted | Aborted)
    }

    /// Whether it has been sent and has not called yet.
    pub fn is_on_its_way(self) -> bool {
        use PilotState::*;
        matches!(self, Submitted | Waiting | Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::select};

    /// DIRAC's own table (docs/adr/0002-job-states.md): nobody loses an edge they rely on.
    const DIRAC: &[(&str, &str)] = &[
        ("Submitting", "Received Checking Deleted Killed"),
        ("Received", "Scouting Checking Staging Waiting Failed Deleted Killed"),
        ("Checking", "Scouting Staging Waiting Rescheduled Failed Deleted Killed"),
        ("Scouting", "Checking Failed Stalled Killed"),
        ("Staging", "Checking Waiting Failed Killed"),
        ("Waiting", "Matched Rescheduled Deleted Killed"),
        ("Matched", "Running Failed Rescheduled Killed"),
        ("Rescheduled", "Waiting Received Deleted Failed Killed"),
        ("Running", "Stalled Done Failed Rescheduled Completing Killed Received"),
        ("Stalled", "Running Failed Killed"),
        ("Completing", "Done Failed Completed Stalled Killed"),
        ("Completed", "Done Failed"),
        ("Done", "Deleted"),
        ("Failed", "Rescheduled Deleted"),
        ("Killed", "Deleted"),
    ];

    #[test]
    fn has_every_edge_of_dirac() {
        for (from, targets) in DIRAC {
            let from: JobState = from.parse().unwrap();
            for to in targets.split(' ') {
                assert_eq!(from.to(to.parse().unwrap()), Ok(to.parse().unwrap()));
            }
        }
    }

    #[test]
    fn can_be_rescheduled_from_every_final_state_but_deleted() {
        for state in JobState::ALL.iter().filter(|s| s.is_final() && **s != JobState::Deleted) {
            assert!(state.to(JobState::Received).is_ok(), "{state}");
        }
    }

    proptest! {
        #[test]
        fn a_name_reads_back(state in select(JobState::ALL)) {
            prop_assert_eq!(state.as_str().parse::<JobState>(), Ok(state));
        }
    }

    #[test]
    fn only_a_claim_or_a_revival_makes_a_job_run() {
        for from in JobState::ALL {
            let revives = matches!(from, JobState::Matched | JobState::Stalled);
            assert_eq!(from.to(JobState::Running).is_ok(), revives, "{from}");
        }
    }
}
