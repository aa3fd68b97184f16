//! Sandboxes as DiracX's clients know them: a form to upload with, a link to download by, names to give
//! to jobs. Forms and links carry a grant of their own, as those of an object store would.

mod grant;
mod sending;

use super::query::{read, unprocessable};
use crate::{
    Guarded, Shared,
    problem::Problem,
    sandboxes::sandboxes_of,
    speakers::{their_job, theirs},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use grant::{Grant, Use, misused};
use serde::Deserialize;
use serde_json::{Value, json};
use spinor_identity::{
    access::{Permission, administers_jobs},
    subject::Subject,
};
use spinor_model::{id::JobId, sandbox::SandboxName};
use spinor_store::SandboxKind;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use sending::settle;

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadSandboxes, route);
    let report = |route| guarded.route(Permission::ReportJobs, route);
    OpenApiRouter::new()
        .merge(sending::routes(guarded))
        .merge(read(routes!(link)))
        .routes(routes!(file))
        .merge(read(routes!(of_job)))
        .merge(read(routes!(of_kind)))
        .merge(report(routes!(assign)))
        .merge(report(routes!(unassign)))
        .merge(report(routes!(unassign_all)))
}

/// A form or a link works so long.
const VALID: Duration = Duration::from_secs(300);

/// Which sandbox.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// Its name.
    pfn: String,
}

fn named(pfn: &str) -> Result<SandboxName, Problem> {
    if pfn.len() > 256 {
        return Err(unprocessable("pfn has more than 256 characters".to_owned()));
    }
    pfn.parse().map_err(|error| Problem::bad_request(format!("pfn: {error}")))
}

/// Whose sandboxes a caller may have: one's own, or the VO's for its administrators.
fn check_owner(subject: &Subject, name: &SandboxName) -> Result<(), Problem> {
    let theirs = match subject {
        Subject::Operator { .. } => true,
        Subject::Member(member) => {
            member.vo == name.vo && (member.user == name.user || administers_jobs(subject))
        }
        Subject::Job { .. } | Subject::Pilot(_) => false,
    };
    match theirs {
        true => Ok(()),
        false => Err(not_theirs(subject, name)),
    }
}

fn not_theirs(subject: &Subject, name: &SandboxName) -> Problem {
    let missing = match subject {
        Subject::Job { .. } => "a job's token has the permission for that job's sandboxes alone",
        _ => "for others' sandboxes the property JobAdministrator of their VO is missing",
    };
    Problem::forbidden(format!("the sandbox is {}'s of VO {}: {missing}", name.user, name.vo))
}

/// Whether a sandbox is the job's whose payload calls.
async fn is_jobs(app: &Shared, subject: &Subject, name: &SandboxName) -> Result<bool, Problem> {
    let Subject::Job { job, .. } = subject else { return Ok(false) };
    Ok(sandboxes_of(app, subject, *job).await?.contains(name))
}

/// A sandbox that is here, and that the caller may have.
async fn stored(app: &Shared, subject: &Subject, name: &SandboxName) -> Result<(), Problem> {
    if is_jobs(app, subject, name).await? {
        return Ok(());
    }
    check_owner(subject, name)?;
    match settle(app, name).await? {
        true => Ok(()),
        false => Err(Problem::bad_request("Sandbox not found")),
    }
}

/// A sandbox that a caller may give to a job: one that it may have, or a payload has sent.
async fn brought(app: &Shared, subject: &Subject, name: &SandboxName) -> Result<(), Problem> {
    let Subject::Job { job, vo, owner, .. } = subject else {
        return stored(app, subject, name).await;
    };
    let owners = *vo == name.vo && *owner == name.user;
    let here = is_jobs(app, subject, name).await?;
    match here || (owners && sending::take(app, name, Some(*job)).await?) {
        true => Ok(()),
        false => Err(not_theirs(subject, name)),
    }
}

/// A link by which a sandbox can be downloaded without a token, for five minutes.
#[utoipa::path(get, path = "/api/jobs/sandbox", tag = "jobs", params(Which),
    responses((status = 200, body = Object), (status = 403, body = Problem)))]
async fn link(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let name = named(&which.pfn)?;
    stored(&app, &subject, &name).await?;
    let url = match app.blobs.link(&name.digest, VALID).await? {
        Some(url) => url,
        None => {
            let grant = Grant::give(&app, Use::Download, &name, 0)?;
            format!("{}/api/jobs/sandbox/file?grant={grant}", app.lifecycle.url)
        }
    };
    Ok(Json(json!({"url": url, "expires_in": VALID.as_secs()})))
}

/// What a link stands for.
#[derive(Debug, Deserialize, IntoParams)]
struct Linked {
    /// As the link has it.
    grant: String,
}

/// A sandbox, by a link.
#[utoipa::path(get, path = "/api/jobs/sandbox/file", tag = "jobs", params(Linked),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 403, body = Problem)))]
async fn file(
    State(app): State<Shared>,
    Query(linked): Query<Linked>,
) -> Result<impl IntoResponse, Problem> {
    let (name, grant) = Grant::read(&app, &linked.grant)?;
    if grant.what != Use::Download {
        return Err(misused());
    }
    let content = app.blobs.get(&name.digest).await?;
    let content = content.ok_or_else(|| Problem::not_found("Sandbox not found"))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content))
}

fn names(all: &[(SandboxKind, String)], kind: SandboxKind) -> Vec<&str> {
    all.iter().filter(|(own, _)| *own == kind).map(|(_, name)| name.as_str()).collect()
}

async fn own(app: &Shared, subject: &Subject, id: i64) -> Result<JobId, Problem> {
    Ok(their_job(app, subject, id).await?.id)
}

/// Sandboxes of a job.
#[utoipa::path(get, path = "/api/jobs/{id}/sandbox", tag = "jobs", responses((status = 200, body = Object)))]
async fn of_job(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Value>, Problem> {
    let job = own(&app, &subject, id).await?;
    let all = app.lifecycle.store.job_sandboxes(job).await?;
    let of = |kind| names(&all, kind);
    Ok(Json(json!({"Input": of(SandboxKind::Input), "Output": of(SandboxKind::Output)})))
}

fn kind_of(text: &str) -> Result<SandboxKind, Problem> {
    match text {
        "input" => Ok(SandboxKind::Input),
        "output" => Ok(SandboxKind::Output),
        other => Err(unprocessable(format!("`{other}`: write input or output"))),
    }
}

/// Sandboxes of a job: `input` or `output`.
#[utoipa::path(get, path = "/api/jobs/{id}/sandbox/{kind}", tag = "jobs", responses((status = 200, body = Vec<String>)))]
async fn of_kind(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((id, kind)): Path<(i64, String)>,
) -> Result<Json<Value>, Problem> {
    let kind = kind_of(&kind)?;
    let job = own(&app, &subject, id).await?;
    Ok(Json(json!(names(&app.lifecycle.store.job_sandboxes(job).await?, kind))))
}

/// Gives a job the sandbox that it leaves: `output`.
#[utoipa::path(patch, path = "/api/jobs/{id}/sandbox/{kind}", tag = "jobs", request_body = String,
    responses((status = 200), (status = 400, body = Problem)))]
async fn assign(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((id, kind)): Path<(i64, String)>,
    body: String,
) -> Result<Json<Value>, Problem> {
    if kind_of(&kind)? == SandboxKind::Input {
        let text = "input sandboxes are given to a job by its description, when it is submitted";
        return Err(unprocessable(text.to_owned()));
    }
    let job = their_job(&app, &subject, id).await?;
    // DiracX's client announces JSON and sends the name as it is.
    let pfn = serde_json::from_str(&body).unwrap_or(body);
    let name = named(&pfn)?;
    brought(&app, &subject, &name).await?;
    let new = app.lifecycle.store.assign_sandbox(job.id, job.attempt, &name).await?;
    if let Subject::Job { job, .. } = &subject {
        sending::forget(&app, &name, Some(*job)).await?;
        return Ok(Json(Value::Null));
    }
    match new {
        true => Ok(Json(Value::Null)),
        false => Err(Problem::bad_request("Sandbox already assigned")),
    }
}

/// Takes its sandboxes away from a job.
#[utoipa::path(delete, path = "/api/jobs/{id}/sandbox", tag = "jobs", responses((status = 200)))]
async fn unassign(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Value>, Problem> {
    let job = own(&app, &subject, id).await?;
    app.lifecycle.store.unassign_sandboxes(&[job]).await?;
    Ok(Json(Value::Null))
}

/// Which jobs.
#[derive(Debug, Deserialize, ToSchema)]
struct Jobs {
    /// Their numbers.
    job_ids: Vec<i64>,
}

/// Takes their sandboxes away from jobs.
#[utoipa::path(post, path = "/api/jobs/sandbox/unassign", tag = "jobs", request_body = Jobs, responses((status = 204)))]
async fn unassign_all(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let jobs: Jobs = read(&bytes)?;
    let found = theirs(&app, &subject, jobs.job_ids.iter().copied()).await?;
    let ids: Vec<JobId> = found.values().map(|job| job.id).collect();
    app.lifecycle.store.unassign_sandboxes(&ids).await?;
    Ok(StatusCode::NO_CONTENT)
}
