//! What the server keeps of its policies' doings: decisions to ask again, lines that guests wrote,
//! and what should not have happened.

use super::{
    AdmissionError, Admitted, Conclusion, Decider, Effect, EndedAttempt, Exchange, Submitted,
    Verdict,
};
use crate::{
    finding::Finding,
    id::{ClassId, VoName},
    offer::Offer,
    registry::BindingPath,
};
use serde::{Deserialize, Serialize};

/// What a policy was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Which of these classes may go there?
    Verdicts {
        /// Where.
        offer: Offer,
        /// The classes, by number: their bodies are kept once.
        classes: Vec<ClassId>,
    },
    /// Is this a good description?
    Admission {
        /// It.
        submitted: Submitted,
    },
    /// What becomes of this attempt?
    Conclusion {
        /// The normalised description.
        template: String,
        /// The attempt.
        attempt: EndedAttempt,
    },
    /// Do this out there.
    Effect {
        /// What.
        effect: Effect,
        /// What passed between it and the world, the first first.
        exchanges: Vec<Exchange>,
    },
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// In the order of the classes.
    Verdicts(Vec<Verdict>),
    /// Yes.
    Admitted(Box<Admitted>),
    /// No, for these reasons.
    Refused(Vec<Finding>),
    /// This.
    Conclusion(Conclusion),
    /// This came of each item, in words; or the whole could not be done.
    Effect(Result<Vec<String>, String>),
}

impl Answer {
    /// What was said to a description, without the template that it became: versions may write that
    /// as they like. None if there was no answer.
    pub fn to_admission(answer: &Result<Admitted, AdmissionError>) -> Option<Self> {
        match answer {
            Ok(admitted) => {
                let template = String::new();
                Some(Self::Admitted(Box::new(Admitted { template, ..admitted.clone() })))
            }
            Err(AdmissionError::Findings(findings)) => Some(Self::Refused(findings.clone())),
            Err(AdmissionError::Policy(_)) => None,
        }
    }
}

/// Something a policy decided, with all that is needed to ask again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// For whom.
    pub vo: VoName,
    /// Where it is bound.
    pub path: BindingPath,
    /// Who decided.
    pub decider: Decider,
    /// What it was asked.
    pub question: Question,
    /// What it answered.
    pub answer: Answer,
    /// How long it took, in microseconds.
    pub cost_us: u64,
}

/// How much a guest's line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something is odd.
    Warn,
    /// Good to know.
    Info,
    /// For its author.
    Debug,
}

impl LogLevel {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// A line that a guest wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLine {
    /// For whom it was called.
    pub vo: VoName,
    /// Plugin and version.
    pub plugin: String,
    /// How much it matters.
    pub level: LogLevel,
    /// It.
    pub message: String,
}

/// What should not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// A version broke too often and is asked no more for a while.
    Tripped,
    /// A canary decides too differently.
    Drifted,
    /// One input breaks it: that input is held.
    Quarantined,
}

/// A concern about a version in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub path: BindingPath,
    /// Who.
    pub decider: Decider,
    /// What.
    pub concern: Concern,
    /// In words.
    pub reason: String,
}

/// Takes note. Called on hot paths: it must neither block nor fail.
pub trait Observer: Send + Sync {
    /// A policy decided.
    fn decided(&self, decision: Decision);
    /// A guest wrote a line.
    fn wrote(&self, line: GuestLine);
    /// Something should not have happened.
    fn alarmed(&self, alarm: Alarm);
}

/// Takes no note, for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn decided(&self, _: Decision) {}
    fn wrote(&self, _: GuestLine) {}
    fn alarmed(&self, _: Alarm) {}
}
