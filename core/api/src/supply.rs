//! What operators see and do of CEs and of pilots that were sent there.

use crate::{
    Guarded, Shared,
    auth::{parsed, vo_of},
    problem::Problem,
    views::PilotView,
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_lifecycle::supply::{PilotTrouble, QueueReport};
use spinor_model::{
    id::{Stamp, VoName},
    policy::PilotStream,
    registry::{Ce, VoDocument},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPilots, routes!(ces)))
        .merge(guarded.route(Permission::ReadPilots, routes!(pilot)))
        .merge(guarded.route(Permission::ReadPilots, routes!(logs)))
        .merge(guarded.route(Permission::Operate, routes!(kill)))
}

/// A CE's queue, and what supply did there in its last round.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// The VO.
    pub vo: String,
    /// The site.
    pub site: String,
    /// The CE.
    pub ce: String,
    /// The queue.
    pub queue: String,
    /// What brings pilots there.
    pub backend: String,
    /// Whether site or CE are banned.
    pub banned: bool,
    /// Cores of a pilot.
    pub cores: u32,
    /// Pilots there may be.
    pub max_pilots: u32,
    /// When the last round was, RFC 3339; none if this server does not send pilots.
    pub at: Option<String>,
    /// Jobs waiting that could run there.
    pub demand: u64,
    /// Pilots that were on their way.
    pub coming: u32,
    /// Pilots that were there, with those on their way.
    pub here: u32,
    /// Pilots that were sent.
    pub sent: u32,
    /// Why not more.
    pub why: String,
}

/// For which VO.
#[derive(Debug, Deserialize, IntoParams)]
struct OfVo {
    /// Operators name the VO.
    vo: Option<String>,
}

fn queues(document: &VoDocument, told: &[QueueReport]) -> Vec<QueueView> {
    let views = document.ces.iter().flat_map(|(name, ce)| {
        ce.queues.iter().map(move |(queue_name, queue)| {
            let told = told.iter().find(|t| t.ce == *name && t.queue == *queue_name);
            let Ce { site, banned, backend, .. } = ce;
            QueueView {
                vo: document.vo.to_string(),
                site: site.to_string(),
                ce: name.to_string(),
                queue: queue_name.to_string(),
                backend: backend.as_ref().map(|b| b.plugin.clone()).unwrap_or_default(),
                banned: *banned || document.sites.get(site).is_some_and(|site| site.banned),
                cores: queue.cores,
                max_pilots: queue.max_pilots,
                at: told.map(|told| told.at.to_string()),
                demand: told.map_or(0, |told| told.demand),
                coming: told.map_or(0, |told| told.coming),
                here: told.map_or(0, |told| told.here),
                sent: told.map_or(0, |told| told.sent),
                why: told.map(|told| told.why.clone()).unwrap_or_default(),
            }
        })
    });
    views.collect()
}

/// Lists a VO's queues, with what supply sent there and why not more.
#[utoipa::path(get, path = "/api/ces", tag = "pilots", params(OfVo),
    responses((status = 200, body = Vec<QueueView>)))]
async fn ces(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<OfVo>,
) -> Result<Json<Vec<QueueView>>, Problem> {
    let asked: Option<VoName> = parsed("vo", of.vo.as_ref())?;
    let vo = vo_of(&subject, asked.as_ref())?;
    let document = app.lifecycle.document(&vo)?;
    Ok(Json(queues(&document, &app.lifecycle.supplied(&vo))))
}

/// A pilot that the caller may see.
async fn seen(
    app: &Shared,
    subject: &Subject,
    stamp: &str,
) -> Result<spinor_store::PilotRecord, Problem> {
    let none = || Problem::not_found(format!("there is no pilot {stamp} that you may see"));
    let stamp: Stamp = stamp.parse().map_err(|_| none())?;
    let pilot = app.lifecycle.store.pilot(&stamp).await?.ok_or_else(none)?;
    match subject.vo().is_none_or(|vo| *vo == pilot.vo) {
        true => Ok(pilot),
        false => Err(none()),
    }
}

/// Shows a pilot.
#[utoipa::path(get, path = "/api/pilots/{stamp}", tag = "pilots",
    responses((status = 200, body = PilotView), (status = 404, body = Problem)))]
async fn pilot(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(stamp): Path<String>,
) -> Result<Json<PilotView>, Problem> {
    Ok(Json(seen(&app, &subject, &stamp).await?.into()))
}

/// Which part of what a pilot wrote.
#[derive(Debug, Deserialize, IntoParams)]
struct Part {
    /// `stdout`, `stderr` or `log`, the CE's own; stdout if not given.
    #[serde(default)]
    stream: Stream,
    /// Bytes that are left out at its beginning.
    #[serde(default)]
    offset: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Stream {
    #[default]
    Stdout,
    Stderr,
    Log,
}

/// Bytes of an output that one answer has.
const MAX_OUTPUT: u32 = 256 << 10;

fn trouble(trouble: PilotTrouble) -> Problem {
    match trouble {
        PilotTrouble::Lifecycle(error) => error.into(),
        other => Problem::new(StatusCode::CONFLICT, other.to_string()),
    }
}

/// Shows what a pilot wrote, as its CE gives it: at most 256 KiB.
#[utoipa::path(get, path = "/api/pilots/{stamp}/logs", tag = "pilots", params(Part),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 409, body = Problem)))]
async fn logs(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(stamp): Path<String>,
    Query(part): Query<Part>,
) -> Result<impl IntoResponse, Problem> {
    let pilot = seen(&app, &subject, &stamp).await?;
    let stream = match part.stream {
        Stream::Stdout => PilotStream::Stdout,
        Stream::Stderr => PilotStream::Stderr,
        Stream::Log => PilotStream::Log,
    };
    let output = app.lifecycle.pilot_output(&pilot, stream, part.offset, MAX_OUTPUT).await;
    let text = String::from_utf8_lossy(&output.map_err(trouble)?).into_owned();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

/// Has a pilot's CE end it.
#[utoipa::path(post, path = "/api/pilots/{stamp}/kill", tag = "pilots",
    responses((status = 200, body = Object), (status = 409, body = Problem)))]
async fn kill(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(stamp): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    let pilot = seen(&app, &subject, &stamp).await?;
    app.lifecycle.kill_pilot(&pilot).await.map_err(trouble)?;
    Ok(Json(serde_json::json!({"stamp": stamp})))
}
