//! Plugins and where they are bound.

use crate::{
    Guarded, Shared,
    administration::{AdminError, Applied, BindingView, PluginView},
    auth::whole,
    problem::Problem,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{
    id::VoName,
    registry::{Binding, BindingPath},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPlugins, routes!(list)))
        .merge(guarded.route(Permission::ReadPlugins, routes!(bindings)))
        .merge(guarded.route(Permission::Operate, routes!(upload)))
        .merge(guarded.route(Permission::Operate, routes!(bind, unbind)))
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Findings(findings) => Self::findings(findings),
            AdminError::NotFound(detail) => Self::not_found(detail),
            AdminError::Refused(detail) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            AdminError::Internal(detail) => {
                tracing::error!(detail, "administration failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        }
    }
}

/// Versions that are loaded.
#[utoipa::path(get, path = "/api/plugins", tag = "plugins", responses((status = 200, body = Vec<PluginView>)))]
async fn list(State(app): State<Shared>) -> Json<Vec<PluginView>> {
    Json(app.administration.plugins())
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

const MAX_COMPONENT: usize = 64 << 20;

/// Takes a component, after looking into it, compiling it and trying it.
#[utoipa::path(post, path = "/api/plugins", tag = "plugins", request_body = Vec<u8>,
    responses((status = 201, body = PluginView), (status = 422, body = Problem)))]
async fn upload(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    body: Body,
) -> Result<(StatusCode, Json<PluginView>), Problem> {
    let component = axum::body::to_bytes(body, MAX_COMPONENT).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a component may have 64 MiB at most")
    })?;
    let version = app.administration.upload(component.to_vec(), &subject.to_string()).await?;
    Ok((StatusCode::CREATED, Json(version)))
}

fn place(vo: &str, path: &str) -> Result<(VoName, BindingPath), Problem> {
    let bad = |error: String| Problem::bad_request(error);
    Ok((
        vo.parse().map_err(|e| bad(format!("{e}")))?,
        path.parse().map_err(|e| bad(format!("{e}")))?,
    ))
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
    let (vo, path) = place(&vo, &path)?;
    let author = subject.to_string();
    whole(
        async move { Ok(Json(app.administration.bind(&vo, &path, Some(binding), &author).await?)) },
    )
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
    let (vo, path) = place(&vo, &path)?;
    let author = subject.to_string();
    whole(async move { Ok(Json(app.administration.bind(&vo, &path, None, &author).await?)) }).await
}
