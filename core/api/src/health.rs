//! Whether the server is well, which needs no permission to ask, and others on its database.

use crate::{Guarded, Shared, administration::ServerView, problem::Problem};
use axum::{Json, extract::State};
use serde::Serialize;
use spinor_identity::access::Permission;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(startup))
        .merge(guarded.route(Permission::Operate, routes!(servers)))
        .merge(guarded.route(Permission::Operate, routes!(metrics)))
}

/// What was measured since this server started, as Prometheus reads it.
#[utoipa::path(get, path = "/api/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<Shared>) -> String {
    (app.metrics)()
}

/// Servers on this database, and how far each is.
#[utoipa::path(get, path = "/api/servers", tag = "health", responses((status = 200, body = Vec<ServerView>)))]
async fn servers(State(app): State<Shared>) -> Result<Json<Vec<ServerView>>, Problem> {
    Ok(Json(app.administration.servers().await?))
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
    version: &'static str,
}

/// Whether the server answers.
#[utoipa::path(get, path = "/api/health/live", tag = "health", responses((status = 200, body = Health)))]
async fn live() -> Json<Health> {
    Json(Health { status: "live", version: env!("CARGO_PKG_VERSION") })
}

/// Whether the server can work: its database answers, and whoever writes it goes on.
#[utoipa::path(get, path = "/api/health/ready", tag = "health", responses((status = 200, body = Health), (status = 503, body = Problem)))]
async fn ready(State(app): State<Shared>) -> Result<Json<Health>, Problem> {
    let asked = app.lifecycle.store.answers().await;
    asked.map_err(|error| {
        tracing::error!(%error, "not ready");
        Problem::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer, or is not written any more: the log says why",
        )
    })?;
    Ok(Json(Health { status: "ready", version: env!("CARGO_PKG_VERSION") }))
}

/// Whether the server has started.
#[utoipa::path(get, path = "/api/health/startup", tag = "health", responses((status = 200, body = Health)))]
async fn startup() -> Json<Health> {
    Json(Health { status: "startup complete", version: env!("CARGO_PKG_VERSION") })
}
