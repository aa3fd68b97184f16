//! Jobs: submitted and looked at.

use crate::{
    Guarded, Shared,
    auth::{member, parsed, person, vo_of, whole},
    problem::Problem,
    views::{AttemptView, EventView, JobView},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use spinor_identity::{
    access::{Permission, administers_jobs},
    subject::Subject,
};
use spinor_lifecycle::{admission, explain::Explanation};
use spinor_model::id::{JobId, TemplateId, VoName};
use spinor_store::{JobFilter, JobRecord};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadJobs, route);
    OpenApiRouter::new()
        .merge(guarded.route(Permission::SubmitJobs, routes!(submit)))
        .merge(read(routes!(list)))
        .merge(read(routes!(summary)))
        .merge(read(routes!(show)))
        .merge(read(routes!(events)))
        .merge(read(routes!(attempts)))
        .merge(read(routes!(all_attempts)))
        .merge(read(routes!(logs)))
        .merge(read(routes!(output)))
        .merge(read(routes!(explain)))
}

/// Jobs that were taken on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SubmittedJobs {
    /// Their numbers, in order.
    pub job_ids: Vec<i64>,
}

/// Submits a description: one job, or one for each row of its parameters.
///
/// With an `Idempotency-Key` header, a repeated request is the same submission.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = Object,
    responses((status = 201, body = SubmittedJobs), (status = 422, body = Problem)))]
async fn submit(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
    body: String,
) -> Result<(StatusCode, Json<SubmittedJobs>), Problem> {
    let member = member(&subject)?;
    let description: serde_json::Value = serde_json::from_str(&body)
        .map_err(|error| Problem::bad_request(format!("the description is no JSON: {error}")))?;
    if !description.is_object() {
        let text = "the description is no JSON object; docs/reference/job-description.md shows one";
        return Err(Problem::bad_request(text));
    }
    let person = person(&app, member, &headers)?;
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let request = admission::Request {
        vo: member.vo.clone(),
        group: member.group.clone(),
        owner: member.user.clone(),
        description,
        times: vec![key.map(|key| key.chars().take(128).collect())],
        number: None,
        beside: admission::Beside { person, ..Default::default() },
    };
    let lifecycle = app.lifecycle.clone();
    let jobs = whole(async move { Ok(lifecycle.submit(request).await?) }).await?;
    let job_ids = jobs.into_iter().map(|id| id.0).collect();
    Ok((StatusCode::CREATED, Json(SubmittedJobs { job_ids })))
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Operators name the VO.
    vo: Option<String>,
    /// Of this owner.
    owner: Option<String>,
    /// In these states, separated by commas.
    status: Option<String>,
    /// At this site.
    site: Option<String>,
    /// Of this submission.
    submission: Option<i64>,
    /// With numbers above this.
    after: Option<i64>,
    /// The newest of them rather than the first.
    #[serde(default)]
    newest: bool,
    /// At most so many: 1 to 10000, 100 if not given.
    limit: Option<u32>,
}

impl Which {
    fn filter(&self, subject: &Subject) -> Result<JobFilter, Problem> {
        let asked: Option<VoName> = parsed("vo", self.vo.as_ref())?;
        let statuses = self.status.iter().flat_map(|list| list.split(','));
        Ok(JobFilter {
            vo: Some(vo_of(subject, asked.as_ref())?),
            owner: parsed("owner", self.owner.as_ref())?,
            statuses: statuses
                .map(|text| text.trim().parse())
                .collect::<Result<_, _>>()
                .map_err(|error| Problem::bad_request(format!("status: {error}")))?,
            site: parsed("site", self.site.as_ref())?,
            template: self.submission.map(TemplateId),
            after: self.after.map(JobId),
            newest: self.newest,
            limit: self.limit.unwrap_or(100).clamp(1, 10_000),
        })
    }
}

/// Lists jobs of one's VO, in order of their numbers.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(Which),
    responses((status = 200, body = Vec<JobView>)))]
async fn list(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<JobView>>, Problem> {
    let jobs = app.lifecycle.store.jobs(&which.filter(&subject)?).await?;
    Ok(Json(jobs.into_iter().map(Into::into).collect()))
}

/// Jobs in one state.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusCountView {
    /// The state.
    pub status: String,
    /// How many.
    pub count: u64,
}

/// Counts jobs by state.
#[utoipa::path(get, path = "/api/jobs/summary", tag = "jobs", params(Which),
    responses((status = 200, body = Vec<StatusCountView>)))]
async fn summary(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<StatusCountView>>, Problem> {
    let counts = app.lifecycle.store.summary(&which.filter(&subject)?).await?;
    let view = |c: spinor_store::StatusCount| StatusCountView {
        status: c.status.to_string(),
        count: c.count,
    };
    Ok(Json(counts.into_iter().map(view).collect()))
}

/// A job of the caller's VO; of no other is it admitted that there is one.
pub(crate) async fn visible(
    app: &Shared,
    subject: &Subject,
    id: i64,
) -> Result<JobRecord, Problem> {
    let job = app.lifecycle.store.job(JobId(id)).await?;
    let theirs = |job: &JobRecord| subject.vo().is_none_or(|vo| *vo == job.vo);
    job.filter(theirs).ok_or_else(|| Problem::not_found(format!("there is no job {id} in your VO")))
}

/// Whether a caller may have a job's files: its owner, and administrators.
pub(crate) fn owns(subject: &Subject, job: &JobRecord) -> bool {
    let own = match subject {
        Subject::Member(member) => member.user == job.owner,
        Subject::Job { job: own, .. } => *own == job.id,
        Subject::Operator { .. } | Subject::Pilot(_) => false,
    };
    own || administers_jobs(subject)
}

/// A job whose files the caller may have.
pub(crate) async fn own(app: &Shared, subject: &Subject, id: i64) -> Result<JobRecord, Problem> {
    let job = visible(app, subject, id).await?;
    if owns(subject, &job) {
        return Ok(job);
    }
    Err(Problem::forbidden(format!(
        "job {id} belongs to {}: for its files the property JobAdministrator is missing",
        job.owner
    )))
}

/// Shows a job.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", responses((status = 200, body = JobView)))]
async fn show(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(visible(&app, &subject, id).await?.into()))
}

/// A job's log.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs",
    responses((status = 200, body = Vec<EventView>)))]
async fn events(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Vec<EventView>>, Problem> {
    let job = visible(&app, &subject, id).await?;
    let events = app.lifecycle.store.events(job.id).await?;
    Ok(Json(events.into_iter().map(Into::into).collect()))
}

/// A job's attempts, with the rules that decided.
#[utoipa::path(get, path = "/api/jobs/{id}/attempts", tag = "jobs",
    responses((status = 200, body = Vec<AttemptView>)))]
async fn attempts(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Vec<AttemptView>>, Problem> {
    let job = visible(&app, &subject, id).await?;
    let attempts = app.lifecycle.store.attempts(job.id).await?;
    Ok(Json(attempts.into_iter().map(Into::into).collect()))
}

/// Of which VO, and which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct OfVo {
    /// Operators name the VO.
    vo: Option<String>,
    /// Of jobs with numbers above this.
    #[serde(default)]
    after: i64,
    /// Of so many jobs: 1 to 1000, 100 if not given.
    limit: Option<u32>,
}

/// Attempts at jobs of one's VO, in order of the jobs: what ran where under which rule.
#[utoipa::path(get, path = "/api/attempts", tag = "jobs", params(OfVo),
    responses((status = 200, body = Vec<AttemptView>)))]
async fn all_attempts(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<OfVo>,
) -> Result<Json<Vec<AttemptView>>, Problem> {
    let asked: Option<VoName> = parsed("vo", of.vo.as_ref())?;
    let (vo, jobs) = (vo_of(&subject, asked.as_ref())?, of.limit.unwrap_or(100).clamp(1, 1000));
    let attempts = app.lifecycle.store.attempts_of_vo(&vo, JobId(of.after), jobs).await?;
    Ok(Json(attempts.into_iter().map(Into::into).collect()))
}

/// The last of a job's streams.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// Which attempt they are of.
    pub attempt: u32,
    /// The last of standard output, at most 4 KiB.
    pub stdout_tail: String,
    /// The last of standard error, at most 4 KiB, once it has ended.
    pub stderr_tail: String,
}

/// The last of what a job wrote; while it runs, as of its pilot's last heartbeat.
#[utoipa::path(get, path = "/api/jobs/{id}/logs", tag = "jobs", responses((status = 200, body = Logs)))]
async fn logs(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Logs>, Problem> {
    let job = own(&app, &subject, id).await?;
    let attempt = app.lifecycle.store.attempts(job.id).await?.pop();
    let attempt = attempt.ok_or_else(|| Problem::not_found(format!("job {id} has not run yet")))?;
    let stderr_tail = attempt.result.map(|r| r.stderr_tail).unwrap_or_default();
    let (attempt, stdout_tail) = (attempt.attempt.0, attempt.stdout_tail);
    Ok(Json(Logs { attempt, stdout_tail, stderr_tail }))
}

/// A job's output sandbox: a gzipped tar archive.
#[utoipa::path(get, path = "/api/jobs/{id}/output", tag = "jobs",
    responses((status = 200, body = Vec<u8>, content_type = "application/gzip")))]
async fn output(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    let job = own(&app, &subject, id).await?;
    let attempts = app.lifecycle.store.attempts(job.id).await?;
    let digest = attempts.iter().rev().find_map(|a| a.result.as_ref()?.output);
    let none = || Problem::not_found(format!("job {id} has no output yet; it is {}", job.status));
    let digest = digest.ok_or_else(none)?;
    // A pilot names what it brought; what it did not bring to this VO is not the job's.
    if !app.lifecycle.store.has_sandbox(&job.vo, None, digest).await? {
        return Err(none());
    }
    let content = app.blobs.get(&digest).await?.ok_or_else(none)?;
    Ok(([(header::CONTENT_TYPE, "application/gzip")], content))
}

/// Why a job waits: which condition or rule keeps it from each queue of its VO.
#[utoipa::path(get, path = "/api/jobs/{id}/explain", tag = "jobs", responses((status = 200, body = Object)))]
async fn explain(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Explanation>, Problem> {
    let job = visible(&app, &subject, id).await?;
    Ok(Json(app.lifecycle.explain(&job).await?))
}
