//! A description becomes jobs that wait.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_identity::secret;
use spinor_model::{
    finding::Finding,
    id::{Digest, GroupName, JobId, JobType, UserName, VoName},
    plan::Parameters,
    policy::{
        AdmissionError, Admitted, Decider, JobHandler, ParameterColumn, PolicyError, Submitted,
    },
    registry::Limits,
};
use spinor_store::{NewJob, NewTemplate, StoreError, Submission};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Somebody's submission.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub vo: VoName,
    /// Whose.
    pub group: GroupName,
    /// Whose.
    pub owner: UserName,
    /// The description.
    pub description: serde_json::Value,
    /// Makes a repeated submission the same submission.
    pub key: Option<String>,
    /// What is kept beside it.
    pub beside: Beside,
}

/// What is kept beside a description.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What its owner calls it together with others.
    pub job_group: Option<String>,
    /// What was sent, if it was not the description.
    pub source: String,
    /// The logical files that it names.
    pub input_data: Vec<String>,
    /// For whom a robot submits; empty if its owner does.
    pub person: String,
}

/// DIRAC's group of jobs that are in none.
const NO_GROUP: &str = "00000000";

/// Why a submission was not taken on. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its author should mend these.
    #[error("the description has {} mistake(s)", .0.len())]
    Findings(Vec<Finding>),
    /// Too many jobs wait already.
    #[error(
        "{waiting} jobs of VO {vo} wait, and its limit is {limit} (`limits.max_waiting`): try again when some have run"
    )]
    OverQuota {
        /// The VO.
        vo: VoName,
        /// Jobs that wait.
        waiting: u64,
        /// Its limit.
        limit: u64,
    },
    /// Something is missing or broken.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Lifecycle(error.into())
    }
}

fn finding(field: &str, value: impl ToString, message: impl Into<String>) -> Refusal {
    Refusal::Findings(vec![Finding::new(field, value, message)])
}

/// The job type of descriptions that do not say.
const DEFAULT_TYPE: &str = "executable";

/// Rows asked of a handler at a time.
const PAGE: u32 = 5_000;

impl Lifecycle {
    /// Takes a submission on: its jobs, in order. All of them wait, or nothing has happened.
    pub async fn submit(&self, request: Request) -> Result<Vec<JobId>, Refusal> {
        Ok(self.submit_all(vec![request]).await?.pop().unwrap_or_default())
    }

    /// Takes submissions of one member on: the jobs of each, in order. All of them wait, or nothing has
    /// happened.
    pub async fn submit_all(&self, requests: Vec<Request>) -> Result<Vec<Vec<JobId>>, Refusal> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let vo = first.vo.clone();
        let limits = self.document(&vo)?.limits.clone();
        let max_waiting = limits.max_waiting;
        let mut handled = Vec::with_capacity(requests.len());
        for request in requests {
            let job_type = job_type(&request.description)?;
            let submission = request.key.clone().unwrap_or_else(secret::fresh);
            let handler = self.policies.handler(&vo, &job_type, &submission);
            handled.push((request, job_type, handler.map_err(LifecycleError::from)?));
        }
        let prepared = tokio::task::spawn_blocking(move || prepare_all(handled, &limits));
        let templates = prepared.await.map_err(LifecycleError::from)??;
        let count = self.count_to(&vo, max_waiting, &templates);
        match self.store.submit(templates, count, self.now()).await? {
            Submission::Stored { jobs, changes } => {
                self.note(&changes).await?;
                Ok(jobs)
            }
            Submission::OverQuota { waiting } => {
                Err(Refusal::OverQuota { vo, waiting, limit: max_waiting })
            }
            Submission::NoSandbox(digest) => Err(finding(
                "/input_sandboxes",
                digest,
                "was never uploaded to this VO by you: upload it first (PUT /api/sandboxes)",
            )),
        }
    }
}

/// Below this, a limit of waiting jobs holds to the job even among servers that submit at the same moment.
const COUNTED_ALWAYS: u64 = 100_000;

impl Lifecycle {
    /// The limit that the database is to count to. A small one always: counting takes as long as there are
    /// jobs. Of a large one, where half is far away by what this server knows, nothing: what other
    /// servers took on in the last second is not in that.
    fn count_to(&self, vo: &VoName, max_waiting: u64, templates: &[NewTemplate]) -> Option<u64> {
        let coming: u64 = templates.iter().map(|template| template.jobs.len() as u64).sum();
        let near = || lock(&self.index).total(vo) + coming > max_waiting / 2;
        (max_waiting < COUNTED_ALWAYS || near()).then_some(max_waiting)
    }
}

impl Refusal {
    /// Says which of several descriptions has the mistakes.
    fn of_number(self, number: usize) -> Self {
        match self {
            Self::Findings(findings) => Self::Findings(
                findings
                    .into_iter()
                    .map(|f| Finding { field: format!("[{number}]{}", f.field), ..f })
                    .collect(),
            ),
            other => other,
        }
    }
}

fn job_type(description: &serde_json::Value) -> Result<JobType, Refusal> {
    let named = match description.get("type") {
        None => DEFAULT_TYPE,
        Some(serde_json::Value::String(name)) => name,
        Some(other) => return Err(finding("/type", other, "is no text: name a job type")),
    };
    named.parse().map_err(|error| finding("/type", named, format!("{error}")))
}

/// Requests of one caller with their types and handlers become templates. Of those that say the same,
/// the handler is asked once.
fn prepare_all(
    handled: Vec<(Request, JobType, Arc<dyn JobHandler>)>,
    limits: &Limits,
) -> Result<Vec<NewTemplate>, Refusal> {
    let several = handled.len() > 1;
    let mut templates: Vec<NewTemplate> = Vec::with_capacity(handled.len());
    let mut asked: HashMap<(String, Decider), usize> = HashMap::new();
    for (i, (request, job_type, handler)) in handled.into_iter().enumerate() {
        let said = (request.description.to_string(), handler.decider().clone());
        let again = asked.get(&said).and_then(|first| templates.get(*first)).cloned();
        let template = match again {
            Some(template) => template,
            None => prepare(&request, &said.0, job_type, &*handler, limits)
                .map_err(|refusal| if several { refusal.of_number(i) } else { refusal })?,
        };
        templates.push(beside(template, request));
        asked.entry(said).or_insert(i);
    }
    Ok(templates)
}

/// Asks the handler everything that can be asked before the jobs exist.
fn prepare(
    request: &Request,
    description: &str,
    job_type: JobType,
    handler: &dyn JobHandler,
    limits: &Limits,
) -> Result<NewTemplate, Refusal> {
    let Request { vo, group, owner, .. } = request;
    let (vo, group, owner) = (vo.clone(), group.clone(), owner.clone());
    let submitted = Submitted {
        description: description.to_owned(),
        vo: vo.clone(),
        group: group.clone(),
        owner: owner.clone(),
        max_jobs: limits.max_jobs_per_submission,
    };
    let (admitted, plan) = handler.admit_and_plan(&submitted).map_err(|error| match error {
        AdmissionError::Findings(findings) => Refusal::Findings(findings),
        AdmissionError::Policy(error) => error.into(),
    })?;
    if admitted.jobs > limits.max_jobs_per_submission {
        let limit = limits.max_jobs_per_submission;
        return Err(finding("/parameters", admitted.jobs, format!("the VO allows {limit} jobs")));
    }
    let jobs = jobs(handler, &admitted)?;
    if let Some(first) = jobs.first() {
        let parameters = Parameters { values: &first.parameters, row: 0, job: JobId(0) };
        plan.filled(parameters).map_err(|bad| finding("", "", bad.to_string()))?;
    }
    let sandboxes: Vec<Digest> = admitted.input_sandboxes.clone();
    Ok(NewTemplate {
        vo,
        group,
        owner,
        job_type,
        job_group: String::new(),
        source: String::new(),
        input_data: Vec::new(),
        person: String::new(),
        key: None,
        template: admitted.template,
        plan,
        requirement: admitted.requirement,
        planned_by: handler.decider().clone(),
        priority: admitted.priority,
        sandboxes,
        jobs,
    })
}

/// A template, its request's key, and what is kept beside it.
fn beside(template: NewTemplate, request: Request) -> NewTemplate {
    let Request { key, beside: Beside { job_group, source, input_data, person }, .. } = request;
    let job_group = job_group.unwrap_or_else(|| NO_GROUP.to_owned());
    NewTemplate { key, job_group, source, input_data, person, ..template }
}

fn jobs(handler: &dyn JobHandler, admitted: &Admitted) -> Result<Vec<NewJob>, Refusal> {
    let name = &admitted.name;
    if name.contains('\0') {
        return Err(finding("/name", name, "contains a NUL character"));
    }
    if name.replace("%%", "").contains("%j") {
        return Err(finding("/name", name, "%j is not known when a job is named"));
    }
    let mut jobs = Vec::with_capacity(admitted.jobs as usize);
    if admitted.parameters.is_empty() {
        for row in 0..admitted.jobs {
            jobs.push(job(name, row, BTreeMap::new())?);
        }
        return Ok(jobs);
    }
    while (jobs.len() as u32) < admitted.jobs {
        let offset = jobs.len() as u32;
        let columns = handler.page(&admitted.template, offset, PAGE)?;
        let rows = rows(handler, admitted, columns)?;
        for values in rows {
            jobs.push(job(name, jobs.len() as u32, values)?);
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

fn job(name: &str, row: u32, parameters: BTreeMap<String, String>) -> Result<NewJob, Refusal> {
    let nul = parameters.iter().find(|(_, value)| value.contains('\0'));
    if let Some((field, value)) = nul {
        return Err(finding(&format!("/parameters/{field}"), value, "contains a NUL character"));
    }
    let filled = Parameters { values: &parameters, row, job: JobId(0) }
        .fill(name)
        .map_err(|bad| finding("/name", name, bad.to_string()))?;
    Ok(NewJob { name: filled.chars().take(255).collect(), parameters })
}
