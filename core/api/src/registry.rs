//! VO documents, and what VOs have used.

use crate::{
    Guarded, Shared,
    administration::{Applied, HistoryView, RevisionView},
    auth::{parsed, vo_of, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::header,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{Digest, VoName};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadRegistry, route);
    OpenApiRouter::new()
        .merge(guarded.route(Permission::Operate, routes!(apply)))
        .merge(guarded.route(Permission::Operate, routes!(rollback)))
        .merge(guarded.route(Permission::Operate, routes!(installation, apply_installation)))
        .merge(read(routes!(show)))
        .merge(read(routes!(history)))
        .merge(read(routes!(revisions)))
        .merge(read(routes!(revision)))
        .merge(read(routes!(usage)))
        .merge(read(routes!(sinks)))
}

fn named(vo: &str) -> Result<VoName, Problem> {
    vo.parse().map_err(|error| Problem::bad_request(format!("{error}")))
}

/// How to resolve what is not said.
#[derive(Deserialize, IntoParams)]
struct ApplyQuery {
    /// Digests that places must be resolved to, from a lock file: `matching=DIGEST,…`.
    pins: Option<String>,
}

fn pins(text: &str) -> Result<BTreeMap<String, Digest>, Problem> {
    let pin = |pair: &str| {
        let (path, digest) = pair.split_once('=')?;
        Some((path.trim().to_owned(), digest.trim().parse().ok()?))
    };
    let bad = |pair: &str| Problem::bad_request(format!("pins: `{pair}` is not PLACE=DIGEST"));
    text.split(',').filter(|p| !p.is_empty()).map(|p| pin(p).ok_or_else(|| bad(p))).collect()
}

/// Puts a VO's document, in TOML, in force: whole or not at all.
#[utoipa::path(put, path = "/api/vos/{vo}", tag = "registry", params(ApplyQuery),
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Applied), (status = 422, body = Problem)))]
async fn apply(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
    Query(query): Query<ApplyQuery>,
    document: String,
) -> Result<Json<Applied>, Problem> {
    let (vo, pins) = (named(&vo)?, pins(query.pins.as_deref().unwrap_or_default())?);
    whole(async move { Ok(Json(app.administration.apply(&vo, &document, pins, &subject).await?)) })
        .await
}

/// What every VO inherits, in TOML.
#[utoipa::path(get, path = "/api/installation", tag = "registry",
    responses((status = 200, body = String, content_type = "application/toml")))]
async fn installation(State(app): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let document = app.administration.installation().await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], document))
}

/// Puts in force what every VO inherits, in TOML: for all of them, or not at all.
#[utoipa::path(put, path = "/api/installation", tag = "registry",
    request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Vec<Applied>), (status = 422, body = Problem)))]
async fn apply_installation(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    document: String,
) -> Result<Json<Vec<Applied>>, Problem> {
    whole(
        async move { Ok(Json(app.administration.apply_installation(&document, &subject).await?)) },
    )
    .await
}

/// To where.
#[derive(Deserialize, IntoParams)]
struct RollbackQuery {
    /// The revision.
    to: i64,
}

/// Puts a VO's document back as it was in a revision, on the versions that it had then.
#[utoipa::path(post, path = "/api/vos/{vo}/rollback", tag = "registry", params(RollbackQuery),
    responses((status = 200, body = Applied)))]
async fn rollback(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
    Query(query): Query<RollbackQuery>,
) -> Result<Json<Applied>, Problem> {
    let vo = named(&vo)?;
    whole(async move {
        Ok(Json(app.administration.rollback(&vo, None, Some(query.to), &subject).await?))
    })
    .await
}

/// Which entries.
#[derive(Deserialize, IntoParams)]
struct HistoryQuery {
    /// In this place alone.
    path: Option<String>,
    /// At most so many.
    limit: Option<u32>,
}

/// What happened to a VO's plugins and bindings, the latest first.
#[utoipa::path(get, path = "/api/vos/{vo}/history", tag = "registry", params(HistoryQuery),
    responses((status = 200, body = Vec<HistoryView>)))]
async fn history(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Vec<HistoryView>>, Problem> {
    let vo = vo_of(&subject, Some(&named(&vo)?))?;
    let path = parsed("path", query.path.as_ref())?;
    let limit = query.limit.unwrap_or(100).min(1_000);
    let history = app.administration.history(Some(&vo), path.as_ref(), limit).await?;
    if history.is_empty() {
        app.lifecycle.document(&vo)?;
    }
    Ok(Json(history))
}

/// The revisions of a VO's document, the latest first.
#[utoipa::path(get, path = "/api/vos/{vo}/revisions", tag = "registry",
    responses((status = 200, body = Vec<RevisionView>)))]
async fn revisions(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
) -> Result<Json<Vec<RevisionView>>, Problem> {
    let vo = vo_of(&subject, Some(&named(&vo)?))?;
    app.lifecycle.document(&vo)?;
    Ok(Json(app.administration.revisions(&vo).await?))
}

/// A revision of a VO's document, in TOML.
#[utoipa::path(get, path = "/api/vos/{vo}/revisions/{revision}", tag = "registry",
    responses((status = 200, body = String, content_type = "application/toml")))]
async fn revision(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((vo, revision)): Path<(String, i64)>,
) -> Result<impl IntoResponse, Problem> {
    let vo = vo_of(&subject, Some(&named(&vo)?))?;
    let document = app.administration.revision(&vo, revision).await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], document))
}

/// A VO's document in force, in TOML.
#[utoipa::path(get, path = "/api/vos/{vo}", tag = "registry",
    responses((status = 200, body = String, content_type = "application/toml")))]
async fn show(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let vo = vo_of(&subject, Some(&named(&vo)?))?;
    let document = app.lifecycle.document(&vo)?.to_toml();
    Ok(([(header::CONTENT_TYPE, "application/toml")], document))
}

/// What a group has used.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// The group.
    pub group: String,
    /// Where.
    pub site: String,
    /// What the attempts led to.
    pub status: String,
    /// How many attempts.
    pub attempts: u64,
    /// Core-seconds of wall time.
    pub core_seconds: f64,
    /// Processor seconds.
    pub cpu_seconds: f64,
}

/// A VO's usage by group, site and outcome.
#[utoipa::path(get, path = "/api/vos/{vo}/usage", tag = "registry",
    responses((status = 200, body = Vec<UsageView>)))]
async fn usage(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(vo): Path<String>,
) -> Result<Json<Vec<UsageView>>, Problem> {
    let vo = vo_of(&subject, Some(&named(&vo)?))?;
    let totals = app.lifecycle.store.usage_totals(&vo).await?;
    let view = |t: spinor_store::UsageTotal| UsageView {
        group: t.group,
        site: t.site,
        status: t.status,
        attempts: t.attempts,
        core_seconds: t.core_seconds,
        cpu_seconds: t.cpu_seconds,
    };
    Ok(Json(totals.into_iter().map(view).collect()))
}

/// How far an accounting sink is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SinkView {
    /// Its VO.
    pub vo: String,
    /// Its name; empty for records of a VO that has no sink.
    pub sink: String,
    /// Records it still has to get.
    pub waiting: u64,
    /// What keeps them.
    pub problem: Option<String>,
}

/// How far accounting sinks are.
#[utoipa::path(get, path = "/api/sinks", tag = "registry", responses((status = 200, body = Vec<SinkView>)))]
async fn sinks(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Result<Json<Vec<SinkView>>, Problem> {
    let mut views = Vec::new();
    for status in app.lifecycle.store.sink_status().await? {
        if subject.vo().is_some_and(|vo| *vo != status.vo) {
            continue;
        }
        let bound = app.lifecycle.policies.sinks(&status.vo);
        let missing = !bound.iter().any(|(name, _)| name.as_str() == status.sink);
        let unbound = || {
            let name = if status.sink.is_empty() { "SINK" } else { &status.sink };
            format!(
                "no plugin is bound to `accounting.{name}` in VO {}; the records wait",
                status.vo
            )
        };
        let problem =
            status.problem.clone().or_else(|| (missing && status.waiting > 0).then(unbound));
        let (vo, waiting) = (status.vo.to_string(), status.waiting);
        views.push(SinkView { vo, sink: status.sink, waiting, problem });
    }
    Ok(Json(views))
}
