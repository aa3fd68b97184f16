//! What operators see and do of sites and CEs, and of the pilots that were sent there.

mod bans;
mod facts;
mod nodes;
mod pilots;
mod probe;

use crate::{Guarded, Shared, problem::Problem, users::Which};
use axum::{
    Extension, Json,
    extract::{Query, State},
};
pub use facts::{FactView, Told};
pub use nodes::NodeBanView;
pub use probe::{ProbeView, StepView};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_lifecycle::supply::QueueReport;
use spinor_model::{
    id::SiteName,
    registry::{Ce, Site, VoDocument},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPilots, routes!(ces)))
        .merge(guarded.route(Permission::ReadPilots, routes!(sites)))
        .merge(bans::routes(guarded))
        .merge(nodes::routes(guarded))
        .merge(facts::routes(guarded))
        .merge(guarded.route(Permission::Operate, routes!(probe::test)))
        .merge(pilots::routes(guarded))
}

/// A CE's queue, and what supply did there in its last round.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// The VO.
    pub vo: String,
    /// The site.
    pub site: String,
    /// The CE.
    pub ce: String,
    /// The queue.
    pub queue: String,
    /// What brings pilots there.
    pub backend: String,
    /// Whether site or CE are banned.
    pub banned: bool,
    /// Cores of a pilot.
    pub cores: u32,
    /// Pilots there may be.
    pub max_pilots: u32,
    /// When the last round was, RFC 3339; none if this server does not send pilots.
    pub at: Option<String>,
    /// Jobs waiting that could run there.
    pub demand: u64,
    /// Pilots that were on their way.
    pub coming: u32,
    /// Pilots that were there, with those on their way.
    pub here: u32,
    /// Pilots that were sent.
    pub sent: u32,
    /// Why not more.
    pub why: String,
}

fn queues(document: &VoDocument, told: &[QueueReport]) -> Vec<QueueView> {
    let views = document.ces.iter().flat_map(|(name, ce)| {
        ce.queues.iter().map(move |(queue_name, queue)| {
            let told = told.iter().find(|t| t.ce == *name && t.queue == *queue_name);
            let Ce { site, banned, backend, .. } = ce;
            QueueView {
                vo: document.vo.to_string(),
                site: site.to_string(),
                ce: name.to_string(),
                queue: queue_name.to_string(),
                backend: backend.as_ref().map(|b| b.plugin.clone()).unwrap_or_default(),
                banned: *banned || document.sites.get(site).is_some_and(|site| site.banned),
                cores: queue.cores,
                max_pilots: queue.max_pilots,
                at: told.map(|told| told.at.to_string()),
                demand: told.map_or(0, |told| told.demand),
                coming: told.map_or(0, |told| told.coming),
                here: told.map_or(0, |told| told.here),
                sent: told.map_or(0, |told| told.sent),
                why: told.map(|told| told.why.clone()).unwrap_or_default(),
            }
        })
    });
    views.collect()
}

/// Lists a VO's queues, with what supply sent there and why not more.
#[utoipa::path(get, path = "/api/ces", tag = "pilots", params(Which),
    responses((status = 200, body = Vec<QueueView>)))]
async fn ces(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<Which>,
) -> Result<Json<Vec<QueueView>>, Problem> {
    let vo = of.vo(&subject)?;
    let document = app.lifecycle.document(&vo)?;
    let mut views = queues(&document, &app.lifecycle.supplied(&vo));
    for ban in app.lifecycle.node_bans(&vo) {
        for view in views.iter_mut().filter(|view| view.ce == ban.ce.as_str()) {
            let apart = if view.why.is_empty() { "" } else { "; " };
            view.why.push_str(&format!("{apart}node {} is banned", ban.node));
        }
    }
    Ok(Json(views))
}

/// A site, and how many CEs and pilots it has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// The VO.
    pub vo: String,
    /// The site.
    pub site: String,
    /// For people.
    pub description: String,
    /// Whether it is banned.
    pub banned: bool,
    /// CEs there.
    pub ces: Vec<String>,
    /// Pilots there, with those on their way.
    pub pilots: usize,
}

/// Lists a VO's sites.
#[utoipa::path(get, path = "/api/sites", tag = "pilots", params(Which),
    responses((status = 200, body = Vec<SiteView>)))]
async fn sites(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<Which>,
) -> Result<Json<Vec<SiteView>>, Problem> {
    let vo = of.vo(&subject)?;
    let document = app.lifecycle.document(&vo)?;
    let pilots = app.lifecycle.store.pilots(Some(&vo), false).await?;
    let view = |(name, site): (&SiteName, &Site)| SiteView {
        vo: vo.to_string(),
        site: name.to_string(),
        description: site.description.clone(),
        banned: site.banned,
        ces: document
            .ces
            .iter()
            .filter(|(_, ce)| ce.site == *name)
            .map(|(ce, _)| ce.to_string())
            .collect(),
        pilots: pilots.iter().filter(|pilot| pilot.site == *name).count(),
    };
    Ok(Json(document.sites.iter().map(view).collect()))
}
