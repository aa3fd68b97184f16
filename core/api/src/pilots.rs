//! Pilots: their side of the protocol, and what operators see of them.

use crate::{
    Guarded, PilotProgram, Shared,
    auth::{self, parsed, vo_of, whole},
    problem::Problem,
    views::PilotView,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use spinor_identity::{
    access::Permission,
    subject::{PilotIdentity, Subject},
};
use spinor_lifecycle::{LifecycleError, matching::Owners};
use spinor_model::{
    id::{AttemptNumber, JobId, UserName, VoName},
    offer::{Offer, default_power},
    plan::{AttemptResult, Parameters},
    protocol::{
        Assignment, Heartbeat, HeartbeatAnswer, JobOrder, Match, Matched, PROTOCOL, ResultTaken,
        Start, Started,
    },
};
use spinor_store::{BeatAnswer, Claimed, ResultAnswer};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let pilot = |route| guarded.route(Permission::Pilot, route);
    OpenApiRouter::new()
        .routes(routes!(start))
        .routes(routes!(program))
        .merge(pilot(routes!(ask)))
        .merge(pilot(routes!(heartbeat)))
        .merge(pilot(routes!(result)))
        .merge(pilot(routes!(end)))
        .merge(guarded.route(Permission::ReadPilots, routes!(list)))
}

/// A payload's token lives so long, and is renewed with each heartbeat.
const JOB_TOKEN: Duration = Duration::from_secs(15 * 60);
/// A pilot's token outlives its pilot by this, for what it must still report.
const PILOT_MARGIN: Duration = Duration::from_secs(6 * 3600);

fn signing(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Exchanges a pilot's one-time secret for its token.
#[utoipa::path(post, path = "/api/pilots/start", tag = "pilots", request_body = Object,
    responses((status = 200, body = Object), (status = 403, body = Problem)))]
async fn start(
    State(app): State<Shared>,
    Json(start): Json<Start>,
) -> Result<Json<Started>, Problem> {
    if start.protocol != PROTOCOL {
        let text = format!("this server speaks protocol {PROTOCOL}, the pilot {}", start.protocol);
        return Err(Problem::bad_request(text));
    }
    let lifecycle = &app.lifecycle;
    let node = start.node.parse().ok();
    let pilot = lifecycle.start_pilot(start.stamp, &start.secret, &start.start, node).await?;
    let subject = Subject::Pilot(PilotIdentity {
        stamp: pilot.stamp,
        vo: pilot.vo,
        site: pilot.site,
        ce: pilot.ce,
        queue: pilot.queue,
    });
    let lifetime = Duration::from_secs(pilot.wall_time) + PILOT_MARGIN;
    let token = app.keys.issue(&subject, lifetime, lifecycle.now()).map_err(signing)?;
    let pace = lifecycle.pace;
    Ok(Json(Started {
        token,
        heartbeat_seconds: pace.heartbeat.as_secs_f64(),
        poll_seconds: pace.poll.as_secs_f64(),
        idle_seconds: pace.idle.as_secs_f64(),
    }))
}

fn offer(pilot: &PilotIdentity, free: Match, power: u32) -> Offer {
    Offer {
        power,
        site: pilot.site.clone(),
        ce: pilot.ce.clone(),
        queue: pilot.queue.clone(),
        cores: free.cores,
        memory_mb: free.memory_mb,
        gpus: free.gpus,
        scratch_mb: free.scratch_mb,
        wall_time: free.wall_time,
        architecture: free.architecture,
        tags: free.tags,
        attributes: free.attributes,
    }
}

/// Work for what a pilot has free.
#[utoipa::path(post, path = "/api/pilots/match", tag = "pilots", request_body = Object,
    responses((status = 200, body = Object)))]
async fn ask(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Json(mut free): Json<Match>,
) -> Result<Json<Matched>, Problem> {
    let pilot = auth::pilot(&subject)?;
    let holds = std::mem::take(&mut free.holds);
    let owners = match (free.mixes, free.owner.take()) {
        (true, _) => Owners::Any,
        (false, None) => Owners::One,
        (false, Some(owner)) => Owners::Only(owner),
    };
    // What is measured differs from pilot to pilot, and would make an offer class of each.
    free.attributes.remove("power");
    let (lifecycle, this) = (app.lifecycle.clone(), pilot.clone());
    let power = power_of(&app, pilot)?;
    let slot = offer(pilot, free, power);
    let matched =
        whole(async move { Ok(lifecycle.match_slot(&this, slot, owners, &holds).await) }).await?;
    let claimed = match matched {
        Ok(claimed) => claimed,
        // No work rather than an error: the reason is the VO's to see, in `explain`.
        Err(error @ (LifecycleError::NoPolicy(_) | LifecycleError::Policy(_))) => {
            tracing::debug!(stamp = %pilot.stamp, %error, "no match");
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    let count = u32::try_from(claimed.len()).unwrap_or(u32::MAX);
    app.lifecycle.store.pilot_seen(&pilot.stamp, count, app.lifecycle.now()).await?;
    let mut jobs = Vec::with_capacity(claimed.len());
    for job in claimed {
        jobs.push(assignment(&app, pilot, job, power)?);
    }
    Ok(Json(Matched { jobs }))
}

/// What the cores of a pilot's queue can do: what the pilot measured itself differs each time.
fn power_of(app: &Shared, pilot: &PilotIdentity) -> Result<u32, Problem> {
    let document = app.lifecycle.document(&pilot.vo)?;
    let queue = document.ces.get(&pilot.ce).and_then(|ce| ce.queues.get(&pilot.queue));
    Ok(queue.map_or_else(default_power, |queue| queue.power))
}

fn assignment(
    app: &Shared,
    pilot: &PilotIdentity,
    job: Claimed,
    power: u32,
) -> Result<Assignment, Problem> {
    let parameters = Parameters { values: &job.parameters, row: job.row, job: job.id };
    let plan = job.plan.filled(parameters).map_err(|bad| Problem::bad_request(bad.to_string()))?;
    let token = job_token(app, pilot, job.id, job.attempt, &job.owner)?;
    let document = app.lifecycle.document(&pilot.vo)?;
    let data_token = document.data_tokens(&job.group).is_some();
    let proxy = document.payload_proxy(&job.group).is_some();
    Ok(Assignment {
        job: job.id,
        attempt: job.attempt,
        nonce: job.nonce,
        owner: job.owner,
        group: job.group,
        cores: job.cores,
        gpus: job.requirement.gpus(),
        memory_mb: job.requirement.cpu.ram_mb.request,
        memory_limit_mb: job.requirement.cpu.ram_mb.limit(),
        wall_time: job.requirement.wall_seconds(power),
        scratch_mb: job.requirement.io.scratch_mb,
        plan,
        image: job.requirement.image,
        sandboxes: job.sandboxes,
        token,
        data_token,
        proxy,
    })
}

/// A token for one attempt of one job, on its owner's behalf.
fn job_token(
    app: &Shared,
    pilot: &PilotIdentity,
    job: JobId,
    attempt: AttemptNumber,
    owner: &UserName,
) -> Result<String, Problem> {
    let (vo, owner) = (pilot.vo.clone(), owner.clone());
    let subject = Subject::Job { job, attempt, vo, owner };
    app.keys.issue(&subject, JOB_TOKEN, app.lifecycle.now()).map_err(signing)
}

/// Takes a pilot's word on its jobs; says what to do with each.
#[utoipa::path(post, path = "/api/pilots/heartbeat", tag = "pilots", request_body = Object,
    responses((status = 200, body = Object)))]
async fn heartbeat(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Json(told): Json<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let pilot = auth::pilot(&subject)?;
    let answers = app.lifecycle.heartbeat(pilot, &told.jobs).await?;
    let mut jobs = Vec::with_capacity(answers.len());
    for (beat, answer) in told.jobs.iter().zip(answers) {
        jobs.push(match answer {
            BeatAnswer::Kill => JobOrder::Kill,
            BeatAnswer::Continue => {
                let job = app.lifecycle.store.job(beat.job).await?;
                let owner = job.ok_or_else(|| Problem::not_found("the job is gone"))?.owner;
                let token = job_token(&app, pilot, beat.job, beat.attempt, &owner)?;
                JobOrder::Continue { token }
            }
        });
    }
    Ok(Json(HeartbeatAnswer { jobs, drain: false }))
}

/// Takes a result: once, from the attempt that has the right.
#[utoipa::path(post, path = "/api/pilots/result", tag = "pilots", request_body = Object,
    responses((status = 200, body = Object), (status = 409, body = Problem)))]
async fn result(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Json(result): Json<AttemptResult>,
) -> Result<Json<ResultTaken>, Problem> {
    let pilot = auth::pilot(&subject)?;
    match app.lifecycle.finish(pilot, &result).await? {
        ResultAnswer::Accepted => Ok(Json(ResultTaken { repeated: false, counts: true })),
        ResultAnswer::Repeated => Ok(Json(ResultTaken { repeated: true, counts: true })),
        ResultAnswer::UsageOnly => Ok(Json(ResultTaken { repeated: false, counts: false })),
        ResultAnswer::Refused(why) => {
            let text = format!("job {} attempt {}: {why}", result.job, result.attempt);
            Err(Problem::new(StatusCode::CONFLICT, text))
        }
    }
}

/// A pilot says goodbye.
#[utoipa::path(post, path = "/api/pilots/end", tag = "pilots", responses((status = 200, body = Object)))]
async fn end(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Result<Json<serde_json::Value>, Problem> {
    app.lifecycle.end_pilot(auth::pilot(&subject)?).await?;
    Ok(Json(serde_json::json!({})))
}

/// Bytes of the pilot program that are read at a time.
const CHUNK: usize = 256 << 10;

/// The pilot program: workers fetch it by its SHA-256, and hold it against that.
#[utoipa::path(get, path = "/api/pilots/program/{digest}", tag = "pilots",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem)))]
async fn program(
    State(app): State<Shared>,
    Path(digest): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let PilotProgram { file, digest: own } = &app.program;
    if digest != own.to_string() {
        let text = format!("this server's pilot program is {own}, not {digest}");
        return Err(Problem::not_found(text));
    }
    let trouble = |error: std::io::Error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{}: {error}", file.display()))
    };
    let opened = tokio::fs::File::open(file).await.map_err(trouble)?;
    let size = opened.metadata().await.map_err(trouble)?.len();
    let chunks = futures::stream::try_unfold(opened, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, Body::from_stream(chunks)))
}

/// Which pilots.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// Operators name the VO.
    vo: Option<String>,
    /// Also those that have ended.
    #[serde(default)]
    ended: bool,
}

/// Lists pilots of a VO.
#[utoipa::path(get, path = "/api/pilots", tag = "pilots", params(Which),
    responses((status = 200, body = Vec<PilotView>)))]
async fn list(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<PilotView>>, Problem> {
    let asked: Option<VoName> = parsed("vo", which.vo.as_ref())?;
    let vo = vo_of(&subject, asked.as_ref())?;
    let pilots = app.lifecycle.store.pilots(Some(&vo), which.ended).await?;
    Ok(Json(pilots.into_iter().map(Into::into).collect()))
}
