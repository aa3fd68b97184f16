//! How differently two versions answer the same questions.

use super::{Answer, Effect, PolicyError, RequirementClass, Verdict};
use crate::{id::JobType, offer::Offer};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// How differently one version answers what another has answered. For matching, an answer is a
/// verdict on a pair of offer and class; for handling, an admission or a conclusion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Answers compared.
    pub compared: u64,
    /// Those that agree.
    pub same: u64,
    /// A yes that became a no.
    pub lost: u64,
    /// A no that became a yes.
    pub gained: u64,
    /// Still a yes, but another one: another score, another plan.
    pub changed: u64,
    /// No answer at all.
    pub faults: u64,
    /// Why a yes became a no, and how often; the rest is under `(others)`.
    pub reasons: BTreeMap<String, u64>,
    /// By job type.
    pub job_types: BTreeMap<JobType, TypeDifferences>,
    /// The first few, in words.
    pub examples: Vec<String>,
    /// Calls of each.
    pub calls: u64,
    /// Microseconds that the one before took for them.
    pub cost_before_us: u64,
    /// Microseconds that this one took.
    pub cost_now_us: u64,
}

/// How differently jobs of one type fare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDifferences {
    /// Answers compared.
    pub compared: u64,
    /// A yes before.
    pub yes_before: u64,
    /// A yes now.
    pub yes_now: u64,
    /// Jobs of the type that wait now.
    #[serde(default)]
    pub waiting: u64,
}

impl TypeDifferences {
    /// Whether nothing of it would be taken any more.
    pub fn starved(&self) -> bool {
        self.yes_before > 0 && self.yes_now == 0
    }
}

const MAX_REASONS: usize = 30;
const MAX_EXAMPLES: usize = 5;

impl Differences {
    /// Adds verdicts of both on the same classes.
    pub fn add_verdicts(
        &mut self,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
        before: &[Verdict],
        now: &[Verdict],
    ) {
        for ((class, before), now) in classes.iter().zip(before).zip(now) {
            let place =
                || format!("{} at {}/{}/{}", class.job_type, offer.site, offer.ce, offer.queue);
            let (was, is) = (accepts(before), accepts(now));
            self.tally(&class.job_type, was.is_some(), is.is_some());
            match (was, is) {
                (Some(_), None) => self.lose(&refusal(now), || {
                    format!("{}: accepted before, now {}", place(), words(now))
                }),
                (None, Some(_)) => {
                    self.gain(|| format!("{}: {} before, now accepted", place(), words(before)))
                }
                (Some(a), Some(b)) if a != b => {
                    self.change(|| format!("{}: score {a} before, now {b}", place()))
                }
                _ => self.same += 1,
            }
        }
    }

    /// Adds what both answered to a handler's question.
    pub fn add_answers(&mut self, job_type: &JobType, before: &Answer, now: &Answer) {
        let yes = |answer: &Answer| matches!(answer, Answer::Admitted(_) | Answer::Conclusion(_));
        self.tally(job_type, yes(before), yes(now));
        match (before, now) {
            _ if before == now => self.same += 1,
            (_, Answer::Refused(findings)) if yes(before) => {
                let reason = findings.first().map(|f| format!("{}: {}", f.field, f.message));
                let reason = reason.unwrap_or_default();
                self.lose(&reason, || {
                    format!("{job_type}: admitted before, now refused: {reason}")
                });
            }
            (Answer::Refused(_), _) if yes(now) => {
                self.gain(|| format!("{job_type}: refused before, now admitted"));
            }
            _ => self.change(|| format!("{job_type}: {}", difference(before, now))),
        }
    }

    /// Adds what came of something done out there, and what a candidate would have made of it. A
    /// candidate that asks the world something else than was recorded gives no answer.
    pub fn add_effect(
        &mut self,
        effect: &Effect,
        before: &Result<Vec<String>, String>,
        now: Result<Vec<String>, PolicyError>,
    ) {
        let name = effect.as_str();
        let now = match now {
            Err(fault @ PolicyError::Fault { .. }) => {
                return self.add_fault(1, &format!("{name}: {fault}"));
            }
            other => other.map_err(|answer| answer.to_string()),
        };
        self.compared += 1;
        match (before, now) {
            (Ok(before), Ok(now)) if *before == now => self.same += 1,
            (Err(_), Err(_)) => self.same += 1,
            (Ok(_), Err(reason)) => {
                self.lose(&reason.clone(), || format!("{name}: done before, now {reason}"));
            }
            (Err(reason), Ok(_)) => self.gain(|| format!("{name}: {reason} before, now done")),
            (Ok(before), Ok(now)) => {
                let other = before.iter().zip(&now).find(|(before, now)| before != now);
                self.change(|| {
                    let none = String::new();
                    let (before, now) = other.unwrap_or((&none, &none));
                    format!("{name}: {before} before, now {now}")
                });
            }
        }
    }

    /// Adds a question that the one now could not answer.
    pub fn add_fault(&mut self, rows: u64, fault: &str) {
        self.faults += 1;
        self.compared += rows;
        self.example(|| format!("no answer: {fault}"));
    }

    /// Adds what a call cost both.
    pub fn add_cost(&mut self, before_us: u64, now_us: u64) {
        self.calls += 1;
        self.cost_before_us += before_us;
        self.cost_now_us += now_us;
    }

    /// Adds what was compared elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.compared += other.compared;
        self.same += other.same;
        self.lost += other.lost;
        self.gained += other.gained;
        self.changed += other.changed;
        self.faults += other.faults;
        self.calls += other.calls;
        self.cost_before_us += other.cost_before_us;
        self.cost_now_us += other.cost_now_us;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for (name, more) in &other.job_types {
            let of_type = self.job_types.entry(name.clone()).or_default();
            of_type.compared += more.compared;
            of_type.yes_before += more.yes_before;
            of_type.yes_now += more.yes_now;
            of_type.waiting = of_type.waiting.max(more.waiting);
        }
        for example in &other.examples {
            self.example(|| example.clone());
        }
    }

    /// Percent of answers in which a yes became a no or the other way round, or there was none.
    pub fn drift(&self) -> u64 {
        ((self.lost + self.gained + self.faults) * 100).checked_div(self.compared).unwrap_or(0)
    }

    /// Job types of which nothing would be taken any more.
    pub fn starved(&self) -> Vec<&JobType> {
        self.job_types.iter().filter(|(_, t)| t.starved()).map(|(name, _)| name).collect()
    }

    /// Why these differences are out of bounds, if they are.
    pub fn beyond(&self, max_drift: u8) -> Option<String> {
        let starved = self.starved();
        if !starved.is_empty() {
            let names: Vec<&str> = starved.iter().map(|name| name.as_str()).collect();
            let reason = self.reasons.iter().max_by_key(|(_, count)| **count);
            let reason = reason.map(|(text, _)| format!(": {text}")).unwrap_or_default();
            return Some(format!(
                "nothing of job type {} would be taken any more{reason}",
                names.join(", ")
            ));
        }
        let drift = self.drift();
        (drift > max_drift.into())
            .then(|| format!("{drift} % of {} answers differ, {max_drift} % may", self.compared))
    }

    fn tally(&mut self, job_type: &JobType, before: bool, now: bool) {
        self.compared += 1;
        let of_type = self.job_types.entry(job_type.clone()).or_default();
        of_type.compared += 1;
        of_type.yes_before += u64::from(before);
        of_type.yes_now += u64::from(now);
    }

    fn lose(&mut self, reason: &str, example: impl FnOnce() -> String) {
        self.lost += 1;
        let known = self.reasons.contains_key(reason) || self.reasons.len() < MAX_REASONS;
        let reason = if known { reason } else { "(others)" };
        *self.reasons.entry(reason.to_owned()).or_default() += 1;
        self.example(example);
    }

    fn gain(&mut self, example: impl FnOnce() -> String) {
        self.gained += 1;
        self.example(example);
    }

    fn change(&mut self, example: impl FnOnce() -> String) {
        self.changed += 1;
        self.example(example);
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(text());
        }
    }
}

fn accepts(verdict: &Verdict) -> Option<i64> {
    match verdict {
        Verdict::Accept(score) => Some(*score),
        Verdict::Reject(_) | Verdict::Held(_) => None,
    }
}

fn refusal(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept(_) => String::new(),
        Verdict::Reject(reason) | Verdict::Held(reason) => reason.to_string(),
    }
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept(score) => format!("accepted with {score}"),
        Verdict::Reject(reason) => format!("rejected: {reason}"),
        Verdict::Held(reason) => format!("held: {reason}"),
    }
}

/// The first field in which two answers differ, with both values.
fn difference(before: &Answer, now: &Answer) -> String {
    let fields = |answer: &Answer| match serde_json::to_value(answer) {
        Ok(serde_json::Value::Object(outer)) => match outer.into_iter().next() {
            Some((_, serde_json::Value::Object(fields))) => fields,
            Some((name, value)) => std::iter::once((name, value)).collect(),
            None => serde_json::Map::new(),
        },
        _ => serde_json::Map::new(),
    };
    let (before, now) = (fields(before), fields(now));
    let short = |value: &serde_json::Value| value.to_string().chars().take(80).collect::<String>();
    let first = before.iter().find(|(name, value)| now.get(*name) != Some(*value));
    let null = serde_json::Value::Null;
    first.map_or_else(
        || "another answer".to_owned(),
        |(name, value)| {
            format!("{name} was {}, is {}", short(value), short(now.get(name).unwrap_or(&null)))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::ClassId, requirement::Requirement};

    fn offer() -> Offer {
        serde_json::from_value(serde_json::json!({"site": "A", "ce": "c", "queue": "q", "cores": 1,
            "memory_mb": 1, "wall_time": 1, "architecture": "x86_64"}))
        .unwrap()
    }

    fn class(job_type: &str) -> Arc<RequirementClass> {
        Arc::new(RequirementClass {
            id: ClassId(1),
            vo: "vo".parse().unwrap(),
            group: "g".parse().unwrap(),
            job_type: job_type.parse().unwrap(),
            requirement: Requirement::default(),
        })
    }

    fn no(reason: &str) -> Verdict {
        Verdict::Reject(reason.into())
    }

    #[test]
    fn a_type_that_nothing_is_taken_of_is_out_of_bounds_however_small() {
        let mut differences = Differences::default();
        let many: Vec<_> = (0..99).map(|_| class("user")).collect();
        let yes = vec![Verdict::Accept(1); 99];
        differences.add_verdicts(&offer(), &many, &yes, &yes);
        assert_eq!(differences.beyond(20), None);
        differences.add_verdicts(
            &offer(),
            &[class("merge")],
            &[Verdict::Accept(1)],
            &[no("no merges")],
        );
        assert_eq!(differences.starved(), [&"merge".parse::<JobType>().unwrap()]);
        let why = differences.beyond(20).unwrap();
        assert_eq!(why, "nothing of job type merge would be taken any more: no merges");
        assert_eq!((differences.compared, differences.same, differences.lost), (100, 99, 1));
    }

    #[test]
    fn drift_counts_what_changes_sides_not_what_is_rescored() {
        let mut differences = Differences::default();
        let before = [Verdict::Accept(1), Verdict::Accept(2), no("x"), no("x")];
        let now = [Verdict::Accept(9), no("y"), Verdict::Accept(0), no("z")];
        let classes: Vec<_> = ["a", "a", "a", "a"].map(class).into();
        differences.add_verdicts(&offer(), &classes, &before, &now);
        let Differences { changed, lost, gained, same, .. } = differences;
        assert_eq!((changed, lost, gained, same), (1, 1, 1, 1));
        assert_eq!(differences.drift(), 50);
        assert_eq!(differences.beyond(49).unwrap(), "50 % of 4 answers differ, 49 % may");
    }
}
