//! What happens to jobs, told by those who run or own them: states, heartbeats, metadata, new starts.

use super::query::{read, unprocessable};
use crate::{
    Guarded, Shared,
    auth::whole,
    problem::Problem,
    speakers::{all_theirs, missing, not_theirs, some, speaker},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use spinor_identity::{
    access::{Permission, administers_jobs},
    subject::Subject,
};
use spinor_model::{id::JobId, state::JobState, time::Timestamp};
use spinor_store::{Beaten, Changed, ReportAnswer, Reported, StatusReport};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let report = |route| guarded.route(Permission::ReportJobs, route);
    OpenApiRouter::new()
        .merge(report(routes!(statuses)))
        .merge(report(routes!(heartbeat)))
        .merge(report(routes!(metadata)))
}

/// Moments told of a job in one request, and things that it says of itself.
const MAX_UPDATES: usize = 100;
/// Characters of what a job says of itself.
const MAX_VALUE: usize = 64 << 10;

fn few(job: i64, count: usize) -> Result<(), Problem> {
    if count <= MAX_UPDATES {
        return Ok(());
    }
    let text = format!("job {job}: {count} entries, send {MAX_UPDATES} at most");
    Err(Problem::bad_request(text))
}

/// Whether to pass over the table of moves.
#[derive(Debug, Deserialize, IntoParams)]
struct Force {
    /// Only for administrators of jobs.
    #[serde(default)]
    force: bool,
}

/// A state at a moment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    /// The state.
    #[serde(rename = "Status")]
    status: Option<String>,
    /// More on that.
    #[serde(rename = "MinorStatus")]
    minor: Option<String>,
    /// What the payload says of itself.
    #[serde(rename = "ApplicationStatus")]
    application: Option<String>,
    /// Who says so.
    #[serde(rename = "Source", default)]
    source: String,
}

fn moment(job: i64, text: &str) -> Result<Timestamp, Problem> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| Timestamp(time.as_millisecond())).map_err(|_| {
        Problem::bad_request(format!("Timestamp {text} is not timezone aware for job {job}"))
    })
}

/// Says in which states jobs were, and when. Killed and Deleted are orders, too: what runs is ended.
#[utoipa::path(patch, path = "/api/jobs/status", tag = "jobs", params(Force),
    request_body = BTreeMap<String, BTreeMap<String, Update>>,
    responses((status = 200, body = Object), (status = 404, body = Object)))]
async fn statuses(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(Force { force }): Query<Force>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let updates: BTreeMap<i64, BTreeMap<String, Update>> = read(&bytes)?;
    let mut reports = Vec::new();
    for (job, updates) in &updates {
        few(*job, updates.len())?;
        for (time, update) in updates {
            let status = update.status.as_ref().map(|s| s.parse::<JobState>()).transpose();
            reports.push(StatusReport {
                job: JobId(*job),
                time: moment(*job, time)?,
                status: status.map_err(|error| unprocessable(format!("Status: {error}")))?,
                minor: update.minor.clone(),
                application: update.application.clone(),
                source: update.source.clone(),
                force,
            });
        }
    }
    if force && !administers_jobs(&subject) {
        return Err(Problem::forbidden("force needs the property JobAdministrator"));
    }
    some(updates.len())?;
    let (speaker, by) = (speaker(&subject), subject.to_string());
    let named = updates.keys().copied().map(JobId).collect();
    let jobs: Vec<i64> = reports.iter().map(|report| report.job.0).collect();
    let (lifecycle, now) = (app.lifecycle.clone(), app.lifecycle.now());
    let answers = whole(async move {
        match lifecycle.store.report(speaker, named, reports, by, now).await? {
            Reported::NotYours(id) => Err(not_theirs(id)),
            Reported::Heard { answers, changes } => {
                lifecycle.note(&changes).await?;
                Ok(answers)
            }
        }
    });
    Ok(told(&jobs, answers.await?, app.lifecycle.now()))
}

fn told(jobs: &[i64], answers: Vec<ReportAnswer>, now: Timestamp) -> Response {
    let (mut success, mut failed) = (BTreeMap::new(), BTreeMap::new());
    let mut none = true;
    for (job, answer) in jobs.iter().zip(answers) {
        none &= answer == ReportAnswer::NotFound;
        match answer {
            ReportAnswer::Taken(changed) => {
                let row: &mut Map<String, Value> = success.entry(*job).or_default();
                row.extend(fields(&changed));
                row.insert("LastUpdateTime".to_owned(), json!(now));
            }
            ReportAnswer::NotFound => drop(failed.insert(*job, missing(job))),
            ReportAnswer::Refused(why) => drop(failed.insert(*job, why)),
        }
    }
    each(success, failed, none.then_some(StatusCode::NOT_FOUND))
}

/// What became of each job, as DiracX's clients read it; under a status of its own if nothing came of
/// the whole.
pub(super) fn each<T: Serialize>(
    success: BTreeMap<i64, T>,
    failed: BTreeMap<i64, String>,
    otherwise: Option<StatusCode>,
) -> Response {
    let failed: BTreeMap<i64, Value> =
        failed.into_iter().map(|(job, why)| (job, json!({"detail": why}))).collect();
    let body = json!({"success": success, "failed": failed});
    match otherwise {
        Some(status) => (status, Json(json!({"detail": body}))).into_response(),
        None => Json(body).into_response(),
    }
}

fn fields(changed: &Changed) -> Map<String, Value> {
    let all = [
        ("Status", changed.status.map(|status| json!(status))),
        ("MinorStatus", changed.minor.as_ref().map(|text| json!(text))),
        ("ApplicationStatus", changed.application.as_ref().map(|text| json!(text))),
        ("StartExecTime", changed.started.map(|time| json!(time))),
        ("EndExecTime", changed.ended.map(|time| json!(time))),
        ("HeartBeatTime", changed.heartbeat.map(|time| json!(time))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// How a job fares.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobBeat)]
struct Beat {
    #[serde(rename = "LoadAverage")]
    load_average: Option<f64>,
    #[serde(rename = "MemoryUsed")]
    memory_used: Option<f64>,
    #[serde(rename = "Vsize")]
    vsize: Option<f64>,
    #[serde(rename = "AvailableDiskSpace")]
    available_disk_space: Option<f64>,
    #[serde(rename = "CPUConsumed")]
    cpu_consumed: Option<f64>,
    #[serde(rename = "WallClockTime")]
    wall_clock_time: Option<f64>,
    #[serde(rename = "StandardOutput")]
    standard_output: Option<String>,
}

impl Beat {
    /// What is kept of it, under the names that it came with.
    fn parameters(self) -> impl Iterator<Item = (&'static str, Value)> {
        let numbers = [
            ("LoadAverage", self.load_average),
            ("MemoryUsed", self.memory_used),
            ("Vsize", self.vsize),
            ("AvailableDiskSpace", self.available_disk_space),
            ("CPUConsumed", self.cpu_consumed),
            ("WallClockTime", self.wall_clock_time),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, n)| Some((name, json!(n?))));
        let cut = |text: String| text.chars().take(MAX_VALUE / 4).collect::<String>();
        let output = self.standard_output.map(|text| ("StandardOutput", json!(cut(text))));
        numbers.chain(output)
    }
}

/// Says that jobs are alive; each is told what it is to do, once.
#[utoipa::path(patch, path = "/api/jobs/heartbeat", tag = "jobs", request_body = BTreeMap<String, Beat>,
    responses((status = 200, body = Vec<Object>), (status = 404, body = Problem)))]
async fn heartbeat(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<Json<Vec<Value>>, Problem> {
    let beats: BTreeMap<i64, Beat> = read(&bytes)?;
    some(beats.len())?;
    let (store, now) = (&app.lifecycle.store, app.lifecycle.now());
    let ids: Vec<JobId> = beats.keys().copied().map(JobId).collect();
    let mut parameters = Vec::new();
    for (id, beat) in beats {
        let of_job = beat.parameters().map(|(name, value)| (JobId(id), name.to_owned(), value));
        parameters.extend(of_job);
    }
    let commands = match store.alive(speaker(&subject), ids, parameters, now).await? {
        Beaten::Told(commands) => commands,
        Beaten::NotYours(id) => return Err(not_theirs(id)),
        Beaten::NotFound(id) => return Err(Problem::not_found(missing(id))),
    };
    let view =
        |(id, command): (JobId, String)| json!({"job_id": id, "command": command, "arguments": ""});
    Ok(Json(commands.into_iter().map(view).collect()))
}

/// Columns that may be changed; the rest of what is sent is what jobs say of themselves.
const MUTABLE: &str = "Site";

/// Sets what is known of jobs.
#[utoipa::path(patch, path = "/api/jobs/metadata", tag = "jobs", request_body = BTreeMap<String, BTreeMap<String, Value>>,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn metadata(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let told: BTreeMap<i64, BTreeMap<String, Value>> = read(&bytes)?;
    all_theirs(&app, &subject, told.keys().copied()).await?;
    let (mut sites, mut parameters) = (Vec::new(), Vec::new());
    for (id, fields) in told {
        few(id, fields.len())?;
        for (name, value) in fields {
            let column = spinor_store::Table::Jobs.column(&name).is_some();
            match (name.as_str(), value.as_str()) {
                (MUTABLE, Some(site)) => sites.push((JobId(id), site.to_owned())),
                _ if column => {
                    let text = format!(
                        "Job attribute {name} cannot be modified through this endpoint: only {MUTABLE} can"
                    );
                    return Err(Problem::bad_request(text));
                }
                _ if value.to_string().len() > MAX_VALUE => {
                    let text = format!("{name} of job {id} has over {MAX_VALUE} characters");
                    return Err(Problem::bad_request(text));
                }
                _ => parameters.push((JobId(id), name, value)),
            }
        }
    }
    let (store, now) = (&app.lifecycle.store, app.lifecycle.now());
    store.set_sites(&sites, now).await?;
    store.set_parameters(&parameters).await?;
    Ok(StatusCode::NO_CONTENT)
}
