//! Descriptions become templates: what their handlers make of them.

use super::{Beside, Refusal, Request, finding};
use spinor_model::{
    id::{JobId, JobType},
    plan::{Parameters, Plan},
    policy::{AdmissionError, Admitted, JobHandler, ParameterColumn, PolicyError, Submitted},
    registry::Limits,
};
use spinor_store::{NewJob, NewTemplate};
use std::{collections::BTreeMap, sync::Arc};

/// DIRAC's group of jobs that are in none.
const NO_GROUP: &str = "00000000";

/// Characters of a job's name, and of its group's.
const MAX_NAME: usize = 255;
const MAX_GROUP: usize = 64;

/// Rows asked of a handler at a time.
const PAGE: u32 = 5_000;

/// A request with the handler that is asked about it.
pub struct Handled {
    handler: Arc<dyn JobHandler>,
    job_type: JobType,
    submitted: Submitted,
    beside: Beside,
    times: Vec<Option<String>>,
    number: Option<usize>,
    /// What the handler remembers to have said.
    said: Option<(Admitted, Plan)>,
}

impl Handled {
    /// Of a type that is its handler's.
    pub fn new(
        request: Request,
        job_type: JobType,
        handler: Arc<dyn JobHandler>,
        limits: &Limits,
    ) -> Self {
        let Request { vo, group, owner, description, times, number, beside } = request;
        let (description, max_jobs) = (description.to_string(), limits.max_jobs_per_submission);
        let submitted = Submitted { description, vo, group, owner, max_jobs };
        let said = handler.remembered(&submitted);
        Self { handler, job_type, submitted, beside, times, number, said }
    }

    /// Whether no guest has to be asked.
    pub fn is_remembered(&self) -> bool {
        self.said.is_some()
    }
}

/// Asks the handlers everything that can be asked before the jobs exist.
pub fn templates(all: Vec<Handled>, limits: &Limits) -> Result<Vec<NewTemplate>, Refusal> {
    let template = |handled: Handled| {
        let number = handled.number;
        let of_number = |refusal: Refusal| match number {
            Some(number) => refusal.of_number(number),
            None => refusal,
        };
        template(handled, limits).map_err(of_number)
    };
    all.into_iter().map(template).collect()
}

fn template(handled: Handled, limits: &Limits) -> Result<NewTemplate, Refusal> {
    let Handled { handler, job_type, submitted, beside, times, said, .. } = handled;
    let asked = || handler.admit_and_plan(&submitted);
    let answer = said.map_or_else(asked, Ok).map_err(|error| match error {
        AdmissionError::Findings(findings) => Refusal::Findings(findings),
        AdmissionError::Policy(error) => error.into(),
    });
    let (admitted, plan) = answer?;
    if admitted.jobs > limits.max_jobs_per_submission {
        let limit = limits.max_jobs_per_submission;
        return Err(finding("/parameters", admitted.jobs, format!("the VO allows {limit} jobs")));
    }
    let names = Names::of(&admitted, beside.job_group.as_deref())?;
    let jobs = jobs(&*handler, &admitted, &names)?;
    if let Some(first) = jobs.first() {
        let parameters = Parameters { values: &first.parameters, row: 0, job: JobId(0) };
        plan.filled(parameters).map_err(|bad| finding("", "", bad.to_string()))?;
        for file in &beside.input_data {
            parameters.fill(file).map_err(|bad| finding("InputData", file, bad.to_string()))?;
        }
    }
    let Submitted { vo, group, owner, .. } = submitted;
    let Beside { source, input_data, person, .. } = beside;
    Ok(NewTemplate {
        vo,
        group,
        owner,
        job_type,
        source,
        input_data,
        person,
        times,
        template: admitted.template,
        plan,
        requirement: admitted.requirement,
        planned_by: handler.decider().clone(),
        priority: admitted.priority,
        sandboxes: admitted.input_sandboxes,
        jobs,
    })
}

/// What jobs are called, before parameters are put in.
struct Names<'a> {
    name: &'a str,
    group: &'a str,
}

impl<'a> Names<'a> {
    fn of(admitted: &'a Admitted, group: Option<&'a str>) -> Result<Self, Refusal> {
        let names = Self { name: &admitted.name, group: group.unwrap_or(NO_GROUP) };
        for (field, text) in [("/name", names.name), ("JobGroup", names.group)] {
            if text.contains('\0') {
                return Err(finding(field, text, "contains a NUL character"));
            }
            if text.replace("%%", "").contains("%j") {
                return Err(finding(field, text, "%j is not known when a job is named"));
            }
        }
        Ok(names)
    }

    fn job(&self, row: u32, parameters: BTreeMap<String, String>) -> Result<NewJob, Refusal> {
        let nul = parameters.iter().find(|(_, value)| value.contains('\0'));
        if let Some((field, value)) = nul {
            return Err(finding(
                &format!("/parameters/{field}"),
                value,
                "contains a NUL character",
            ));
        }
        let filled = |field: &str, text: &str, length: usize| {
            let values = Parameters { values: &parameters, row, job: JobId(0) };
            let filled = values.fill(text).map_err(|bad| finding(field, text, bad.to_string()))?;
            Ok::<String, Refusal>(filled.chars().take(length).collect())
        };
        let name = filled("/name", self.name, MAX_NAME)?;
        let job_group = filled("JobGroup", self.group, MAX_GROUP)?;
        Ok(NewJob { name, job_group, parameters })
    }
}

fn jobs(
    handler: &dyn JobHandler,
    admitted: &Admitted,
    names: &Names<'_>,
) -> Result<Vec<NewJob>, Refusal> {
    if admitted.parameters.is_empty() {
        return (0..admitted.jobs).map(|row| names.job(row, BTreeMap::new())).collect();
    }
    let mut jobs = Vec::with_capacity(admitted.jobs as usize);
    while (jobs.len() as u32) < admitted.jobs {
        let offset = jobs.len() as u32;
        let columns = handler.page(&admitted.template, offset, PAGE)?;
        for values in rows(handler, admitted, columns)? {
            jobs.push(names.job(jobs.len() as u32, values)?);
        }
    }
    Ok(jobs)
}

/// Columns turned into rows; a page that is ragged, empty or too long breaks the contract.
fn rows(
    handler: &dyn JobHandler,
    admitted: &Admitted,
    columns: Vec<ParameterColumn>,
) -> Result<Vec<BTreeMap<String, String>>, Refusal> {
    let length = columns.first().map_or(0, |column| column.values.len());
    let ragged = columns.iter().any(|column| column.values.len() != length);
    if length == 0 || ragged || length > PAGE as usize {
        let decider = handler.decider();
        let what = format!("a page of {} jobs has {length} rows", admitted.jobs);
        let fault = spinor_model::policy::Fault::Contract(what);
        return Err(PolicyError::Fault { plugin: decider.to_string(), fault }.into());
    }
    let mut rows = vec![BTreeMap::new(); length];
    for column in columns {
        for (row, value) in rows.iter_mut().zip(column.values) {
            row.insert(column.name.clone(), value);
        }
    }
    Ok(rows)
}
