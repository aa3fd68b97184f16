//! Errors as RFC 9457 problem documents: what is wrong, with which field and value, and the way out.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use spinor_lifecycle::{LifecycleError, admission::Refusal, pilots::StartRefusal};
use spinor_model::{
    finding::Finding,
    id::BadName,
    policy::{NoPolicy, PolicyError},
};
use spinor_store::StoreError;
use utoipa::ToSchema;

const PROBLEM: &str = "application/problem+json";

/// What is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// In a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// In a sentence, with the way out.
    pub detail: String,
    /// Each thing that is wrong with a document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingView>,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Where.
    pub field: String,
    /// The offending value.
    pub value: String,
    /// What is wrong with it, and the way out.
    pub message: String,
}

impl Problem {
    /// A problem with a status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            findings: Vec::new(),
        }
    }

    /// The request is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing, or it is not for you.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The caller may not.
    pub fn forbidden(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("Forbidden: {why}"))
    }

    /// A document has mistakes.
    pub fn findings(findings: Vec<Finding>) -> Self {
        let first = findings.first().map(|f| match f.field.is_empty() {
            true => f.message.clone(),
            false => format!("{}: {}", f.field, f.message),
        });
        let more = findings.len().saturating_sub(1);
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let view = |f: Finding| FindingView { field: f.field, value: f.value, message: f.message };
        let detail = format!("{}{more}", first.unwrap_or_default());
        let findings = findings.into_iter().map(view).collect();
        Self { findings, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The store's trouble: if its database does not answer, it is worth to ask again.
fn stored(error: &StoreError) -> Problem {
    if !error.is_outage() {
        return internal(error);
    }
    tracing::error!(%error, "the database does not answer");
    let detail = "the server's database does not answer; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Our own trouble: logged whole, told in general.
fn internal(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a request failed");
    let detail = "the server has a problem of its own, which is in its log; try again later";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

impl From<BadName> for Problem {
    fn from(error: BadName) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        stored(&error)
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        let status = match &error {
            LifecycleError::Store(error) => return stored(error),
            LifecycleError::Task(_) => return internal(error),
            LifecycleError::NoVo(_) => StatusCode::NOT_FOUND,
            LifecycleError::NoPolicy(NoPolicy::Tripped { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            LifecycleError::NoPolicy(_) => StatusCode::CONFLICT,
            LifecycleError::Policy(PolicyError::Answer { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
            LifecycleError::Policy(PolicyError::Fault { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Findings(findings) => Self::findings(findings),
            Refusal::OverQuota { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.to_string())
            }
            Refusal::Lifecycle(error) => error.into(),
        }
    }
}

impl From<StartRefusal> for Problem {
    fn from(refusal: StartRefusal) -> Self {
        match refusal {
            StartRefusal::Lifecycle(error) => error.into(),
            other => Self::new(StatusCode::FORBIDDEN, other.to_string()),
        }
    }
}

/// For paths that are no routes.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no {}; /api/openapi.json lists all routes", uri.path()))
}

/// Bodies that a problem document is made of are short.
const MAX_TEXT: usize = 64 << 10;

/// Makes a problem document of what axum says by itself, e.g. of a body that is no JSON.
pub async fn as_problem(response: Response) -> Response {
    let (status, headers) = (response.status(), response.headers());
    // What is JSON was made here; axum itself speaks plain text.
    let ours = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM || kind == "application/json");
    if ours || !status.is_client_error() {
        return response;
    }
    let allow = headers.get(header::ALLOW).cloned();
    let text = axum::body::to_bytes(response.into_body(), MAX_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!(
            "the body is over {} MiB: send files as sandboxes (PUT /api/sandboxes)",
            crate::MAX_BODY >> 20
        ),
        _ if text.is_empty() => "see /api/openapi.json for what this route takes".to_owned(),
        _ => text.into_owned(),
    };
    let mut problem = Problem::new(status, detail).into_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    problem
}
