//! What may be used: sites, CEs; with the resource status that DiracX's clients ask for.

use super::config::cached;
use crate::{Guarded, Shared, auth::vo_of, problem::Problem};
use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde_json::{Map, Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{id::CeName, registry::VoDocument};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadVo, route);
    OpenApiRouter::new()
        .merge(read(routes!(storage)))
        .merge(read(routes!(compute)))
        .merge(read(routes!(site)))
        .merge(read(routes!(fts)))
}

const BANNED: &str = "banned by the VO's document";

/// What may be used, unless there is a reason against it.
fn leaf(reason: Option<String>) -> Value {
    match reason {
        Some(reason) => json!({"all": {"allowed": false, "reason": reason}}),
        None => json!({"all": {"allowed": true, "warnings": null}}),
    }
}

fn answer(
    app: &Shared,
    subject: &Subject,
    headers: &HeaderMap,
    view: impl FnOnce(&VoDocument) -> Map<String, Value>,
) -> Result<Response, Problem> {
    let vo = vo_of(subject, None)?;
    let document = app.lifecycle.document(&vo)?;
    cached(app, headers, &vo, &Value::Object(view(&document)))
}

/// Which storage elements may be used; this server knows none.
#[utoipa::path(get, path = "/api/rss/storage", tag = "rss", responses((status = 200, body = Object), (status = 304)))]
async fn storage(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &subject, &headers, |_| Map::new())
}

/// Which CEs may be used.
#[utoipa::path(get, path = "/api/rss/compute", tag = "rss", responses((status = 200, body = Object), (status = 304)))]
async fn compute(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &subject, &headers, |document| {
        let closed = |name: &CeName| {
            let reason = document.ban_of(name).map(|_| BANNED.to_owned());
            reason.or_else(|| app.lifecycle.in_downtime(document, name))
        };
        document.ces.keys().map(|name| (name.to_string(), leaf(closed(name)))).collect()
    })
}

/// Which sites may be used.
#[utoipa::path(get, path = "/api/rss/site", tag = "rss", responses((status = 200, body = Object), (status = 304)))]
async fn site(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &subject, &headers, |document| {
        document
            .sites
            .iter()
            .map(|(name, site)| (name.to_string(), leaf(site.banned.then(|| BANNED.to_owned()))))
            .collect()
    })
}

/// Which file transfer services may be used; this server knows none.
#[utoipa::path(get, path = "/api/rss/fts", tag = "rss", responses((status = 200, body = Object), (status = 304)))]
async fn fts(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &subject, &headers, |_| Map::new())
}
