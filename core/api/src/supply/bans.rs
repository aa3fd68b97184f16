//! Sites and CEs are banned, and allowed again.

use crate::{
    Guarded, Shared,
    administration::Applied,
    auth::whole,
    problem::Problem,
    users::{Reason, Which},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{id::BadName, registry::Banned};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let operate = |route| guarded.route(Permission::Operate, route);
    OpenApiRouter::new()
        .merge(operate(routes!(ban_ce)))
        .merge(operate(routes!(allow_ce)))
        .merge(operate(routes!(ban_site)))
        .merge(operate(routes!(allow_site)))
}

async fn set_banned(
    app: Shared,
    subject: Subject,
    of: Which,
    whom: Result<Banned, BadName>,
    reason: Option<Reason>,
) -> Result<Json<Applied>, Problem> {
    let vo = of.vo(&subject)?;
    let whom = whom?;
    let reason = reason.map(Reason::of_ban).transpose()?;
    whole(async move { Ok(Json(app.administration.ban(&vo, &whom, reason, &subject).await?)) })
        .await
}

/// Bans a CE: no pilots go there. Those that are there go on.
#[utoipa::path(put, path = "/api/ces/{ce}/ban", tag = "pilots", params(Which), request_body = Reason,
    responses((status = 200, body = Applied), (status = 404, body = Problem)))]
async fn ban_ce(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(ce): Path<String>,
    Query(of): Query<Which>,
    Json(reason): Json<Reason>,
) -> Result<Json<Applied>, Problem> {
    set_banned(app, subject, of, ce.parse().map(Banned::Ce), Some(reason)).await
}

/// Allows a CE again.
#[utoipa::path(delete, path = "/api/ces/{ce}/ban", tag = "pilots", params(Which),
    responses((status = 200, body = Applied), (status = 404, body = Problem)))]
async fn allow_ce(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(ce): Path<String>,
    Query(of): Query<Which>,
) -> Result<Json<Applied>, Problem> {
    set_banned(app, subject, of, ce.parse().map(Banned::Ce), None).await
}

/// Bans a site: no pilots go there, and those that are there get no more jobs.
#[utoipa::path(put, path = "/api/sites/{site}/ban", tag = "pilots", params(Which), request_body = Reason,
    responses((status = 200, body = Applied), (status = 404, body = Problem)))]
async fn ban_site(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(site): Path<String>,
    Query(of): Query<Which>,
    Json(reason): Json<Reason>,
) -> Result<Json<Applied>, Problem> {
    set_banned(app, subject, of, site.parse().map(Banned::Site), Some(reason)).await
}

/// Allows a site again.
#[utoipa::path(delete, path = "/api/sites/{site}/ban", tag = "pilots", params(Which),
    responses((status = 200, body = Applied), (status = 404, body = Problem)))]
async fn allow_site(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(site): Path<String>,
    Query(of): Query<Which>,
) -> Result<Json<Applied>, Problem> {
    set_banned(app, subject, of, site.parse().map(Banned::Site), None).await
}
