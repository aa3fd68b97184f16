//! What DiracX has no routes for, in its style: what jobs say of themselves, their JDL, their input data.

use crate::{
    Guarded, Shared,
    jobs::{owns, visible},
    problem::Problem,
    speakers::their_job,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
};
use serde_json::{Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_store::JobRecord;
use std::collections::BTreeMap;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadJob, route);
    OpenApiRouter::new()
        .merge(read(routes!(parameters)))
        .merge(read(routes!(jdl)))
        .merge(read(routes!(input_data)))
        .merge(guarded.route(Permission::FetchDataToken, routes!(data_token)))
        .merge(guarded.route(Permission::FetchDataToken, routes!(proxy)))
}

/// A job that the caller may look into: of its VO, or the one whose payload it is.
async fn readable(app: &Shared, subject: &Subject, id: i64) -> Result<JobRecord, Problem> {
    match subject {
        Subject::Job { .. } => their_job(app, subject, id).await,
        _ => visible(app, subject, id).await,
    }
}

/// What a job and its pilot say of it, by name.
#[utoipa::path(get, path = "/api/jobs/{id}/parameters", tag = "jobs", responses((status = 200, body = Object)))]
async fn parameters(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<BTreeMap<String, Value>>, Problem> {
    let job = readable(&app, &subject, id).await?;
    let mut parameters = of_attempt(&app, &job).await?;
    parameters.extend(app.lifecycle.store.parameters(job.id).await?);
    if !owns(&subject, &job) {
        // What a job writes is its owner's.
        parameters.remove("StandardOutput");
    }
    Ok(Json(parameters))
}

/// What is known of the job's last attempt, under the names that DIRAC's pilots give it.
async fn of_attempt(app: &Shared, job: &JobRecord) -> Result<BTreeMap<String, Value>, Problem> {
    let store = &app.lifecycle.store;
    let Some(attempt) = store.attempts(job.id).await?.pop() else { return Ok(BTreeMap::new()) };
    let pilot = store.pilot(&attempt.stamp).await?;
    let reference = pilot.as_ref().and_then(|pilot| pilot.reference.as_deref());
    let reference = reference.unwrap_or(attempt.stamp.as_str());
    let used = attempt.result.as_ref().map(|result| &result.consumption);
    let output = Some(&attempt.stdout_tail).filter(|tail| !tail.is_empty());
    let known = [
        ("Pilot_Reference", Some(json!(reference))),
        ("HostName", pilot.as_ref().and_then(|pilot| pilot.node.as_ref()).map(|node| json!(node))),
        ("GridCE", Some(json!(attempt.ce))),
        ("CEQueue", pilot.as_ref().map(|pilot| json!(pilot.queue))),
        ("TotalCPUTime(s)", used.map(|used| json!(used.cpu_seconds))),
        ("WallClockTime(s)", used.map(|used| json!(used.wall_seconds))),
        ("MaxMemory(MB)", used.map(|used| json!(used.max_memory_mb))),
        ("StandardOutput", output.map(|tail| json!(tail))),
    ];
    Ok(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// The JDL that a job was submitted with.
#[utoipa::path(get, path = "/api/jobs/{id}/jdl", tag = "jobs", responses((status = 200, body = String)))]
async fn jdl(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<String>, Problem> {
    let job = readable(&app, &subject, id).await?;
    let found = app.lifecycle.store.source(job.id).await?.map(|(source, _)| source);
    let found = found.filter(|source| !source.is_empty());
    let none = || Problem::not_found(format!("job {id} was not submitted with a JDL"));
    Ok(Json(found.ok_or_else(none)?))
}

/// The logical files that a job's JDL names as its input data.
#[utoipa::path(get, path = "/api/jobs/{id}/input-data", tag = "jobs", responses((status = 200, body = Vec<String>)))]
async fn input_data(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Vec<String>>, Problem> {
    let job = readable(&app, &subject, id).await?;
    let found = app.lifecycle.store.source(job.id).await?;
    Ok(Json(found.map(|(_, files)| files).unwrap_or_default()))
}

/// A token of the VO's provider for the data of one's own job, while it runs. The pilot that runs the job
/// asks in its name, and renews it.
#[utoipa::path(get, path = "/api/jobs/{id}/data-token", tag = "jobs", responses((status = 200, body = Object)))]
async fn data_token(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    let job = their_job(&app, &subject, id).await?;
    let token = app.sessions.data_token(&job.vo, &job.group).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(token)))
}

/// A proxy of the VO's, limited to data, for one's own job while it runs. The pilot that runs the job asks in
/// its name, and renews it.
#[utoipa::path(get, path = "/api/jobs/{id}/proxy", tag = "jobs", responses((status = 200, body = Object)))]
async fn proxy(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    let job = their_job(&app, &subject, id).await?;
    let proxy = app.sessions.payload_proxy(&job.vo, &job.group).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(proxy)))
}
