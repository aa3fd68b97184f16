//! Plugins in their places: bound, let in, put back.

use crate::{
    Guarded, Shared,
    administration::{Applied, BindingView, PlaceView, ReplayRequest},
    auth::{parsed, vo_of, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;
use spinor_identity::{access::Permission, subject::Subject};
use spinor_lifecycle::replay::Replay;
use spinor_model::{
    id::VoName,
    registry::{Binding, BindingPath, Candidate},
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let manage = |route| guarded.route(Permission::ManagePolicies, route);
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPlugins, routes!(bindings)))
        .merge(guarded.route(Permission::ReadPlugins, routes!(places)))
        .merge(manage(routes!(bind, unbind)))
        .merge(manage(routes!(rollout, end_rollout)))
        .merge(manage(routes!(promote)))
        .merge(manage(routes!(rollback)))
        .merge(manage(routes!(disable)))
        .merge(manage(routes!(replay)))
}

/// Bindings in force: one's own VO's; an operator sees all.
#[utoipa::path(get, path = "/api/bindings", tag = "plugins",
    responses((status = 200, body = Vec<BindingView>)))]
async fn bindings(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Json<Vec<BindingView>> {
    Json(app.administration.bindings(subject.vo()))
}

/// Places with all that is there, how it fares, and how far rollouts are.
#[utoipa::path(get, path = "/api/places", tag = "plugins",
    responses((status = 200, body = Vec<PlaceView>)))]
async fn places(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Json<Vec<PlaceView>> {
    Json(app.administration.places(subject.vo()))
}

/// The place that a request is about, in a VO that is the caller's.
fn place(subject: &Subject, vo: &str, path: &str) -> Result<(VoName, BindingPath), Problem> {
    let bad = |error: String| Problem::bad_request(error);
    let vo: VoName = vo.parse().map_err(|e| bad(format!("{e}")))?;
    let path = path.parse().map_err(|e| bad(format!("{e}")))?;
    Ok((vo_of(subject, Some(&vo))?, path))
}

/// Puts a plugin in a place of a VO.
#[utoipa::path(put, path = "/api/vos/{vo}/bindings/{path}", tag = "plugins", request_body = Object,
    responses((status = 200, body = Applied), (status = 422, body = Problem)))]
async fn bind(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
    Json(binding): Json<Binding>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move {
        Ok(Json(app.administration.bind(&vo, &path, Some(binding), &subject).await?))
    })
    .await
}

/// Takes the plugin in a place away.
#[utoipa::path(delete, path = "/api/vos/{vo}/bindings/{path}", tag = "plugins",
    responses((status = 200, body = Applied)))]
async fn unbind(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move { Ok(Json(app.administration.bind(&vo, &path, None, &subject).await?)) }).await
}

/// Lets a candidate in beside what is bound: as a shadow that decides nothing, or as a canary that
/// decides for a share.
#[utoipa::path(put, path = "/api/vos/{vo}/bindings/{path}/candidate", tag = "plugins",
    request_body = Object, responses((status = 200, body = Applied), (status = 422, body = Problem)))]
async fn rollout(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
    Json(candidate): Json<Candidate>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move {
        Ok(Json(app.administration.rollout(&vo, &path, Some(candidate), &subject).await?))
    })
    .await
}

/// Takes the candidate away.
#[utoipa::path(delete, path = "/api/vos/{vo}/bindings/{path}/candidate", tag = "plugins",
    responses((status = 200, body = Applied)))]
async fn end_rollout(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move { Ok(Json(app.administration.rollout(&vo, &path, None, &subject).await?)) })
        .await
}

/// Puts the candidate in the place of what is bound.
#[utoipa::path(post, path = "/api/vos/{vo}/bindings/{path}/promote", tag = "plugins",
    responses((status = 200, body = Applied)))]
async fn promote(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move { Ok(Json(app.administration.promote(&vo, &path, &subject).await?)) }).await
}

/// To where.
#[derive(Deserialize, IntoParams)]
struct RollbackQuery {
    /// The revision; the last different binding if not given.
    to: Option<String>,
}

/// Takes the candidate away, or puts back what was bound before: code, settings and grants.
#[utoipa::path(post, path = "/api/vos/{vo}/bindings/{path}/rollback", tag = "plugins",
    params(RollbackQuery), responses((status = 200, body = Applied)))]
async fn rollback(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
    Query(query): Query<RollbackQuery>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    let to = parsed("to", query.to.as_ref())?;
    whole(
        async move { Ok(Json(app.administration.rollback(&vo, Some(&path), to, &subject).await?)) },
    )
    .await
}

/// Switches a place off: what it would decide is held, and nothing is lost.
#[utoipa::path(post, path = "/api/vos/{vo}/bindings/{path}/disable", tag = "plugins",
    responses((status = 200, body = Applied)))]
async fn disable(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
) -> Result<Json<Applied>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    whole(async move { Ok(Json(app.administration.disable(&vo, &path, &subject).await?)) }).await
}

/// Asks a candidate what others have decided: what would change?
#[utoipa::path(post, path = "/api/vos/{vo}/bindings/{path}/replay", tag = "plugins",
    request_body = ReplayRequest, responses((status = 200, body = Object)))]
async fn replay(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, path)): Path<(String, String)>,
    Json(request): Json<ReplayRequest>,
) -> Result<Json<Replay>, Problem> {
    let (vo, path) = place(&subject, &vo, &path)?;
    Ok(Json(app.administration.replay(&vo, &path, request, &subject).await?))
}
