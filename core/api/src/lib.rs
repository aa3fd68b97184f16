//! The HTTP surface.
//!
//! [`router`] puts all routes together; each names the permission it needs in its own module's
//! `routes`. Types of requests and answers live here and nowhere below. Errors are RFC 9457 problem
//! documents ([`problem`]).

pub mod administration;
mod auth;
mod bindings;
mod description;
pub mod dirac;
mod health;
pub mod jobs;
mod lingering;
pub mod orders;
mod pilots;
pub mod plugins;
pub mod problem;
pub mod registry;
mod relayed;
mod sandboxes;
mod speakers;
pub mod supply;
pub mod users;
pub mod views;

use administration::Administration;
use axum::{
    Router,
    http::{HeaderValue, header},
};
use spinor_identity::{access::Permission, session::Sessions, token::Keys};
use spinor_lifecycle::Lifecycle;
use spinor_model::id::Digest;
use spinor_store::Blobs;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// What requests are answered from.
pub struct App {
    /// The moving parts.
    pub lifecycle: Arc<Lifecycle>,
    /// Who signs and checks tokens.
    pub keys: Arc<Keys>,
    /// Logins.
    pub sessions: Arc<Sessions>,
    /// Who changes documents, bindings and components.
    pub administration: Arc<dyn Administration>,
    /// Sandboxes.
    pub blobs: Blobs,
    /// What workers run.
    pub program: PilotProgram,
    /// To whom weaknesses are reported.
    pub security_contact: Option<String>,
    /// Web pages of which other origins may use this server from browsers.
    pub origins: Vec<HeaderValue>,
    /// What was measured, as Prometheus reads it.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// The pilot program, as workers fetch it.
pub struct PilotProgram {
    /// Where it is.
    pub file: PathBuf,
    /// SHA-256 of it.
    pub digest: Digest,
}

/// The state of all routes.
pub type Shared = Arc<App>;

#[derive(OpenApi)]
#[openapi(info(
    title = "Spinor",
    description = "Jobs, pilots, plugins and VOs of a Spinor installation.",
    license(name = "Apache-2.0")
))]
struct Document;

fn routes(app: &Shared) -> OpenApiRouter<Shared> {
    let guarded = Guarded { app: app.clone() };
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::routes(&guarded))
        .merge(jobs::routes(&guarded))
        .merge(orders::routes(&guarded))
        .merge(sandboxes::routes(&guarded))
        .merge(pilots::routes(&guarded))
        .merge(supply::routes(&guarded))
        .merge(plugins::routes(&guarded))
        .merge(bindings::routes(&guarded))
        .merge(registry::routes(&guarded))
        .merge(users::routes(&guarded))
        .merge(dirac::routes(&guarded))
}

/// Bytes that the body of a request may have, but for sandboxes and components.
pub(crate) const MAX_BODY: usize = 16 << 20;

/// Every route of the server, over HTTP.
pub fn router(app: Shared) -> Router {
    let cors = (!app.origins.is_empty()).then(|| cors(&app.origins));
    let lingering = axum::middleware::map_request(lingering::lingering);
    answers(app).layer((lingering, tower::util::option_layer(cors)))
}

/// What browsers must be told before they let pages of other origins ask.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([header::CONTENT_RANGE, header::ETAG])
        .max_age(Duration::from_secs(600))
}

/// Every route of the server.
fn answers(app: Shared) -> Router {
    let (router, document) = routes(&app).split_for_parts();
    let json = description::complete(document).to_json().unwrap_or_default();
    let openapi = axum::routing::get(move || {
        let json = json.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], json) }
    });
    router
        .route("/api/openapi.json", openapi)
        .fallback(problem::not_found)
        .layer((
            axum::middleware::map_response(problem::as_problem),
            axum::extract::DefaultBodyLimit::max(MAX_BODY),
        ))
        .with_state(app)
}

/// Who answers pilots whose questions came by files: the same routes.
pub fn front(app: Shared) -> Arc<dyn spinor_lifecycle::relay::Front> {
    Arc::new(relayed::Relayed(answers(app)))
}

/// The OpenAPI document of an application.
pub fn openapi(app: &Shared) -> String {
    description::complete(routes(app).split_for_parts().1).to_pretty_json().unwrap_or_default()
}

/// Puts routes behind a permission.
pub(crate) struct Guarded {
    app: Shared,
}

impl Guarded {
    /// A route for those who have `permission`.
    fn route(
        &self,
        permission: Permission,
        route: UtoipaMethodRouter<Shared>,
    ) -> OpenApiRouter<Shared> {
        let check = auth::Check { app: self.app.clone(), permission };
        OpenApiRouter::new()
            .routes(route)
            .route_layer(axum::middleware::from_fn_with_state(check, auth::authorize))
    }
}
