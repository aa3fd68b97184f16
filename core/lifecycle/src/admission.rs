//! A description becomes jobs that wait.

mod preparing;

use crate::{Lifecycle, LifecycleError, lock};
use preparing::Handled;
use spinor_identity::secret;
use spinor_model::{
    finding::Finding,
    id::{GroupName, JobId, JobType, UserName, VoName},
    policy::PolicyError,
    registry::Limits,
};
use spinor_store::{NewTemplate, Room, StoreError, Submission};
use std::sync::Arc;
use tokio::sync::Semaphore;

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
    /// The times that it is asked for: with a key, a repeated submission is the same submission.
    pub times: Vec<Option<String>>,
    /// Its place among others, for what is said of it.
    pub number: Option<usize>,
    /// What is kept beside it.
    pub beside: Beside,
}

/// What is kept beside a description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Beside {
    /// What its owner calls it together with others; like texts of the description it may hold parameters.
    pub job_group: Option<String>,
    /// What was sent, if it was not the description.
    pub source: String,
    /// The logical files that it names, with parameters as well.
    pub input_data: Vec<String>,
    /// For whom a robot submits; empty if its owner does.
    pub person: String,
}

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

impl Lifecycle {
    /// Takes a submission on: its jobs, in order. All of them wait, or nothing has happened.
    pub async fn submit(&self, request: Request) -> Result<Vec<JobId>, Refusal> {
        Ok(self.submit_all(vec![request]).await?.concat().concat())
    }

    /// Takes submissions of one member on: the jobs of each, of each time that it is asked for. All of them
    /// wait, or nothing has happened.
    pub async fn submit_all(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Vec<Vec<JobId>>>, Refusal> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let vo = first.vo.clone();
        let limits = self.document(&vo)?.limits.clone();
        let max_waiting = limits.max_waiting;
        let mut handled = Vec::with_capacity(requests.len());
        for request in requests {
            let job_type = job_type(&request.description)?;
            let submission = request.times.iter().flatten().next().cloned();
            let submission = submission.unwrap_or_else(secret::fresh);
            let handler = self.policies.handler(&vo, &job_type, &submission);
            let handler = handler.map_err(LifecycleError::from)?;
            handled.push(Handled::new(request, job_type, handler, &limits));
        }
        let templates = self.prepare(&vo, handled, limits).await?;
        let room = self.room(&vo, max_waiting);
        match self.store.submit(templates, room, self.now()).await? {
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

    /// Has descriptions prepared, by guests of which a VO's are asked by a few threads: the others would only
    /// wait for each other.
    async fn prepare(
        &self,
        vo: &VoName,
        handled: Vec<Handled>,
        limits: Limits,
    ) -> Result<Vec<NewTemplate>, Refusal> {
        if handled.iter().all(Handled::is_remembered) {
            return preparing::templates(handled, &limits);
        }
        let threads = lock(&self.asking).entry(vo.clone()).or_insert_with(few).clone();
        let turn = threads.acquire_owned().await.ok();
        let prepared = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            preparing::templates(handled, &limits)
        });
        prepared.await.map_err(LifecycleError::from)?
    }
}

/// More than guests of a VO may run at a time, so that there is always one at hand to go on.
fn few() -> Arc<Semaphore> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(2 * cores))
}

/// Below this, a limit of waiting jobs holds to the job even among servers that submit at the same moment.
const COUNTED_ALWAYS: u64 = 100_000;

impl Lifecycle {
    /// What may wait in a VO. Of a large limit, what this server knows to wait is good enough: what is being
    /// stored at this moment, and what other servers took on in the last second, is not in that.
    fn room(&self, vo: &VoName, max_waiting: u64) -> Room {
        let known = || lock(&self.index).total(vo);
        Room { max_waiting, waiting: (max_waiting >= COUNTED_ALWAYS).then(known) }
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
