//! Plugins: versions, and what was written about them.

use crate::{
    Guarded, Shared,
    administration::{AdminError, Collected, PluginView, Push, ReportView},
    auth::{parsed, vo_of, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{Digest, VoName};
use spinor_store::LineRecord;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPlugins, routes!(list)))
        .merge(guarded.route(Permission::ReadPlugins, routes!(component)))
        .merge(guarded.route(Permission::ReadPluginLogs, routes!(logs)))
        .merge(guarded.route(Permission::ManagePolicies, routes!(push)))
        .merge(guarded.route(Permission::ManagePolicies, routes!(inspect)))
        .merge(guarded.route(Permission::Operate, routes!(collect)))
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Findings(findings) => Self::findings(findings),
            AdminError::NotFound(detail) => Self::not_found(detail),
            AdminError::Forbidden(detail) => Self::new(StatusCode::FORBIDDEN, detail),
            AdminError::Refused(detail) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            AdminError::Internal(detail) => {
                tracing::error!(detail, "administration failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
            }
        }
    }
}

/// Versions that are loaded: the installation's and one's own VO's.
#[utoipa::path(get, path = "/api/plugins", tag = "plugins", responses((status = 200, body = Vec<PluginView>)))]
async fn list(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Json<Vec<PluginView>> {
    Json(app.administration.plugins(subject.vo()))
}

const MAX_COMPONENT: usize = 64 << 20;

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let bytes = axum::body::to_bytes(body, MAX_COMPONENT).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a component may have 64 MiB at most")
    })?;
    Ok(bytes.to_vec())
}

/// How a component comes in.
#[derive(Deserialize, IntoParams)]
struct PushQuery {
    /// For this VO alone. Policy managers push for their own; operators, without this, for everyone.
    vo: Option<String>,
    /// Where it came from, e.g. an OCI reference with its digest.
    source: Option<String>,
}

/// Takes a component, after looking into it, compiling it and trying it. A header
/// `Spinor-Signature: PUBLIC-KEY:SIGNATURE`, both in hexadecimal, may sign its digest.
#[utoipa::path(post, path = "/api/plugins", tag = "plugins", params(PushQuery), request_body = Vec<u8>,
    responses((status = 201, body = PluginView), (status = 422, body = Problem)))]
async fn push(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(query): Query<PushQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<PluginView>), Problem> {
    let asked: Option<VoName> = parsed("vo", query.vo.as_ref())?;
    let vo = match subject.vo() {
        Some(_) => Some(vo_of(&subject, asked.as_ref())?),
        None => asked,
    };
    let push = Push {
        component: read(body).await?,
        vo,
        source: query.source.unwrap_or_else(|| "upload".to_owned()),
        signatures: signatures(&headers)?,
    };
    whole(async move { Ok((StatusCode::CREATED, Json(app.administration.push(push, &subject).await?))) })
        .await
}

fn signatures(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let bad =
        || Problem::bad_request("Spinor-Signature is not PUBLIC-KEY:SIGNATURE in hexadecimal");
    let pair = |value: &axum::http::HeaderValue| {
        let (key, signature) = value.to_str().ok()?.split_once(':')?;
        Some((key.trim().to_lowercase(), signature.trim().to_lowercase()))
    };
    headers.get_all("spinor-signature").iter().map(|value| pair(value).ok_or_else(bad)).collect()
}

/// Says what a component is and whether this server could run it. Nothing is kept.
#[utoipa::path(post, path = "/api/plugins/inspect", tag = "plugins", request_body = Vec<u8>,
    responses((status = 200, body = ReportView)))]
async fn inspect(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    body: Body,
) -> Result<Json<ReportView>, Problem> {
    let component = read(body).await?;
    Ok(Json(app.administration.inspect(&component, &subject).await))
}

/// A component's bytes.
#[utoipa::path(get, path = "/api/plugins/{digest}/component", tag = "plugins",
    responses((status = 200, body = Vec<u8>, content_type = "application/wasm")))]
async fn component(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(digest): Path<String>,
) -> Result<([(axum::http::HeaderName, &'static str); 1], Bytes), Problem> {
    let digest: Digest =
        digest.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    let bytes = app.administration.component(&digest, &subject).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/wasm")], bytes.into()))
}

/// Whether to collect, or only to say what would be.
#[derive(Deserialize, IntoParams)]
struct CollectQuery {
    /// Only say what would be taken away.
    #[serde(default)]
    dry_run: bool,
}

/// Takes away versions that nothing needs any more.
#[utoipa::path(post, path = "/api/plugins/gc", tag = "plugins", params(CollectQuery),
    responses((status = 200, body = Collected)))]
async fn collect(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(query): Query<CollectQuery>,
) -> Result<Json<Collected>, Problem> {
    Ok(Json(app.administration.collect(query.dry_run, &subject).await?))
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
struct LogsQuery {
    /// The VO, for operators.
    vo: Option<String>,
    /// Of plugins whose name and version begin with this.
    plugin: Option<String>,
    /// After this line.
    #[serde(default)]
    after: i64,
    /// At most so many.
    limit: Option<u32>,
}

/// A line that a plugin wrote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LineView {
    /// Its place in the log.
    pub id: i64,
    /// RFC 3339.
    pub time: String,
    /// Plugin and version.
    pub plugin: String,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// It.
    pub message: String,
}

impl From<LineRecord> for LineView {
    fn from(line: LineRecord) -> Self {
        Self {
            id: line.id,
            time: line.time.to_string(),
            plugin: line.plugin,
            level: line.level.as_str().to_owned(),
            message: line.message,
        }
    }
}

/// What the plugins of one's VO wrote, the oldest first.
#[utoipa::path(get, path = "/api/plugins/logs", tag = "plugins", params(LogsQuery),
    responses((status = 200, body = Vec<LineView>)))]
async fn logs(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<Vec<LineView>>, Problem> {
    let vo = vo_of(&subject, parsed("vo", query.vo.as_ref())?.as_ref())?;
    app.lifecycle.keep_observed().await?;
    let limit = query.limit.unwrap_or(200).min(2_000);
    let store = &app.lifecycle.store;
    let lines = store.guest_lines(&vo, query.plugin.as_deref(), query.after, limit).await?;
    Ok(Json(lines.into_iter().map(LineView::from).collect()))
}
