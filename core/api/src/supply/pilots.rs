//! A pilot, what it wrote, and its end.

use crate::{Guarded, Shared, problem::Problem, views::PilotView};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use spinor_identity::{access::Permission, subject::Subject};
use spinor_lifecycle::supply::PilotTrouble;
use spinor_model::{id::Stamp, policy::PilotStream};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPilots, routes!(pilot)))
        .merge(guarded.route(Permission::Operate, routes!(logs)))
        .merge(guarded.route(Permission::Operate, routes!(kill)))
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
    #[param(inline)]
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
