//! Job-type handlers over WASM.

use super::Bond;
use crate::{
    bindings::{
        handler::{
            Handler as Exports, HandlerPre,
            exports::spinor::handling::{admission, conclusion, planning},
        },
        host::spinor::host::types,
    },
    call,
    state::HostState,
};
use jsonschema::paths::Location;
use quick_cache::{Weighter, sync::Cache};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use spinor_model::{
    finding::Finding,
    id::Digest,
    plan::{Ending, Plan},
    policy::{
        AdmissionError, Admitted, Answer, Conclusion, Decider, EndedAttempt, JobHandler,
        ParameterColumn, PolicyError, Question, Retry, Submitted,
    },
    requirement::Requirement,
    time::micros,
};
use std::{sync::Arc, time::Instant};
use wasmtime::{Store, component::InstancePre};

/// Longer descriptions are not recorded.
const MAX_RECORDED: usize = 64 << 10;

/// A handler behind the trait.
pub struct Handler {
    bond: Bond,
    pre: HandlerPre<HostState>,
    /// What it said to descriptions of late, in full. It is pure: it would say the same again.
    said: Cache<Submitted, Arc<Said>, Bytes>,
}

/// An answer to a description, and how long it took in microseconds.
struct Said {
    admitted: Admitted,
    plan: Plan,
    cost_us: u64,
}

/// Answers that a handler remembers: so many, if they are short, and so many bytes.
const MOST_SAID: usize = 1_000;
const MOST_BYTES: u64 = 4 << 20;

/// What an answer takes, in bytes, about.
#[derive(Clone)]
struct Bytes;

impl Weighter<Submitted, Arc<Said>> for Bytes {
    fn weight(&self, submitted: &Submitted, said: &Arc<Said>) -> u64 {
        let Said { admitted, plan, .. } = &**said;
        let texts = submitted.description.len() + admitted.template.len();
        let words = plan.command.iter().map(String::len).sum::<usize>();
        let variables = plan.environment.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        // The rest is what a requirement takes.
        (texts + words + variables + 1_024) as u64
    }
}

impl Handler {
    /// Checks that all hooks are there.
    pub fn new(bond: Bond, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        let said = Cache::with_weighter(MOST_SAID, MOST_BYTES, Bytes);
        Ok(Self { bond, pre: HandlerPre::new(pre)?, said })
    }

    /// One call of the guest; `input` is all that it is asked about.
    fn call<R>(
        &self,
        hook: &'static str,
        input: &str,
        call: impl FnOnce(&Exports, &mut Store<HostState>, &str) -> wasmtime::Result<R>,
    ) -> Result<R, PolicyError> {
        let Bond { engine, caller, limits, settings, permits, .. } = &self.bond;
        let _permit = permits.take();
        let answer = call::pure(engine, caller, limits, hook, |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            call(&instance, store, settings)
        });
        self.bond.noted(Digest::of(input.as_bytes()).bucket(u64::MAX), answer)
    }

    /// An answer about a submission, which is noted.
    fn admission(
        &self,
        submitted: &Submitted,
        cost_us: u64,
        answer: Result<admission::Admitted, admission::Rejection>,
    ) -> Result<Admitted, AdmissionError> {
        let answer = match answer {
            Ok(admitted) => self.admitted(admitted),
            Err(admission::Rejection::Failed(error)) => Err(self.bond.answer(error).into()),
            Err(admission::Rejection::Findings(findings)) => Err(AdmissionError::Findings(
                findings
                    .into_iter()
                    .map(|f| Finding { field: f.field, value: f.value, message: f.message })
                    .collect(),
            )),
        };
        self.record(submitted, &answer, cost_us);
        answer
    }

    fn record(
        &self,
        submitted: &Submitted,
        answer: &Result<Admitted, AdmissionError>,
        cost_us: u64,
    ) {
        if let Some(recorded) = Answer::to_admission(answer)
            && submitted.description.len() <= MAX_RECORDED
        {
            let question = Question::Admission { submitted: submitted.clone() };
            self.bond.decided(question, recorded, cost_us);
        }
    }

    fn planned(&self, answer: Result<planning::Plan, types::Error>) -> Result<Plan, PolicyError> {
        let plan = answer.map_err(|error| self.bond.answer(error))?;
        if plan.command.is_empty() {
            return Err(self.bond.broken("a plan without a command".to_owned()));
        }
        Ok(Plan {
            command: plan.command,
            environment: plan.environment.into_iter().collect(),
            stdout: plan.stdout,
            stderr: plan.stderr,
            outputs: plan.outputs,
        })
    }

    fn admitted(&self, answer: admission::Admitted) -> Result<Admitted, AdmissionError> {
        let requirement = parse_requirement(&answer.requirement)?;
        let mut input_sandboxes = Vec::new();
        for (i, text) in answer.input_sandboxes.iter().enumerate() {
            let digest = text.parse().map_err(|error| {
                findings(format!("/input_sandboxes/{i}"), text, format!("{error}"))
            })?;
            input_sandboxes.push(digest);
        }
        if answer.jobs == 0 {
            return Err(self.bond.broken("a submission of 0 jobs".to_owned()).into());
        }
        Ok(Admitted {
            name: answer.name,
            requirement,
            priority: answer.priority.min(10),
            template: answer.template,
            input_sandboxes,
            jobs: answer.jobs,
            parameters: answer.parameters,
        })
    }
}

fn wit_submission(submitted: &Submitted) -> admission::Submission {
    admission::Submission {
        description: submitted.description.clone(),
        vo: submitted.vo.to_string(),
        group: submitted.group.to_string(),
        owner: submitted.owner.to_string(),
        max_jobs: submitted.max_jobs,
    }
}

fn findings(field: String, value: &str, message: String) -> AdmissionError {
    AdmissionError::Findings(vec![Finding::new(field, value, message)])
}

fn parse_requirement(json: &str) -> Result<Requirement, AdmissionError> {
    let bad = |field: String, value: &Value, message: String| {
        let value = value.pointer(&field).unwrap_or(value).to_string();
        findings(format!("/requirements{field}"), &value, message)
    };
    let value: Value = serde_json::from_str(json)
        .map_err(|error| findings("/requirements".to_owned(), json, error.to_string()))?;
    let requirement: Requirement = serde_path_to_error::deserialize(&value)
        .map_err(|error| bad(pointer(error.path()), &value, error.inner().to_string()))?;
    requirement.check().map_err(|wrong| bad(wrong.field.to_owned(), &value, wrong.message))?;
    Ok(requirement)
}

/// A JSON pointer.
fn pointer(path: &Path) -> String {
    let below = |above: Location, segment: &Segment| match segment {
        Segment::Seq { index } => above.join(*index),
        Segment::Map { key: name } | Segment::Enum { variant: name } => above.join(name),
        Segment::Unknown => above,
    };
    path.iter().fold(Location::new(), below).to_string()
}

fn wit_attempt(attempt: &EndedAttempt) -> conclusion::Attempt {
    let ending = match attempt.ending.clone() {
        Ending::Exited { code } => conclusion::Ending::Exited(code),
        Ending::Signalled { signal } => conclusion::Ending::Signalled(signal),
        Ending::WallTime { limit } => conclusion::Ending::WallTime(limit),
        Ending::Memory { limit } => conclusion::Ending::Memory(limit),
        Ending::NotStarted { reason } => conclusion::Ending::NotStarted(reason),
        Ending::Killed => conclusion::Ending::Other("killed".to_owned()),
        Ending::Lost { reason } => conclusion::Ending::Lost(reason),
    };
    conclusion::Attempt {
        number: attempt.number.0,
        limit: attempt.limit,
        ending,
        site: attempt.site.to_string(),
        missing_outputs: attempt.missing_outputs.clone(),
        stderr_tail: attempt.stderr_tail.clone(),
    }
}

impl JobHandler for Handler {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    fn admit(&self, submitted: &Submitted) -> Result<Admitted, AdmissionError> {
        let submission = wit_submission(submitted);
        let started = Instant::now();
        let answer = self.call("admit", &submitted.description, |exports, store, settings| {
            exports.spinor_handling_admission().call_admit(store, settings, &submission)
        })?;
        self.admission(submitted, micros(started), answer)
    }

    fn remembered(&self, submitted: &Submitted) -> Option<(Admitted, Plan)> {
        let said = self.said.get(submitted)?;
        self.bond.breaker.good();
        self.record(submitted, &Ok(said.admitted.clone()), said.cost_us);
        Some((said.admitted.clone(), said.plan.clone()))
    }

    /// Both are asked of one instance, since making one takes longer than either answer.
    fn admit_and_plan(&self, submitted: &Submitted) -> Result<(Admitted, Plan), AdmissionError> {
        let submission = wit_submission(submitted);
        let (started, mut plan) = (Instant::now(), None);
        let answer = self.call("admit", &submitted.description, |exports, store, settings| {
            let admission = exports.spinor_handling_admission();
            let answer = admission.call_admit(&mut *store, settings, &submission)?;
            if let Ok(admitted) = &answer {
                let planning = exports.spinor_handling_planning();
                plan = Some(planning.call_prepare(store, settings, &admitted.template)?);
            }
            Ok(answer)
        })?;
        let cost_us = micros(started);
        let admitted = self.admission(submitted, cost_us, answer)?;
        let plan = match plan {
            Some(plan) => self.planned(plan)?,
            None => self.plan(&admitted.template)?,
        };
        // What stands for many jobs takes time in any case.
        if admitted.jobs == 1 && admitted.parameters.is_empty() {
            let said = Said { admitted: admitted.clone(), plan: plan.clone(), cost_us };
            self.said.insert(submitted.clone(), Arc::new(said));
        }
        Ok((admitted, plan))
    }

    fn page(
        &self,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, PolicyError> {
        let answer = self.call("page", template, |exports, store, settings| {
            let admission = exports.spinor_handling_admission();
            admission.call_page(store, settings, template, offset, limit)
        })?;
        let columns = answer.map_err(|error| self.bond.answer(error))?;
        let own =
            |c: admission::ParameterColumn| ParameterColumn { name: c.name, values: c.values };
        Ok(columns.into_iter().map(own).collect())
    }

    fn plan(&self, template: &str) -> Result<Plan, PolicyError> {
        let answer = self.call("plan", template, |exports, store, settings| {
            exports.spinor_handling_planning().call_prepare(store, settings, template)
        })?;
        self.planned(answer)
    }

    fn conclude(&self, template: &str, attempt: &EndedAttempt) -> Result<Conclusion, PolicyError> {
        let started = Instant::now();
        let asked = wit_attempt(attempt);
        let input = format!("{template} {attempt:?}");
        let answer = self.call("conclude", &input, |exports, store, settings| {
            exports.spinor_handling_conclusion().call_conclude(store, settings, template, &asked)
        })?;
        let conclusion = match answer.map_err(|error| self.bond.answer(error))? {
            conclusion::Verdict::Done => Conclusion::Done,
            conclusion::Verdict::Failed(reason) => {
                Conclusion::Failed(reason.chars().take(128).collect())
            }
            conclusion::Verdict::Retry(retry) => Conclusion::Retry(Retry {
                reason: retry.reason,
                delay_seconds: retry.delay_seconds,
                avoid_site: retry.avoid_site,
            }),
        };
        if template.len() <= MAX_RECORDED {
            let (template, attempt) = (template.to_owned(), attempt.clone());
            let question = Question::Conclusion { template, attempt };
            self.bond.decided(question, Answer::Conclusion(conclusion.clone()), micros(started));
        }
        Ok(conclusion)
    }
}
