//! Nodes that get no jobs.

use crate::{
    Guarded, Shared,
    auth::whole,
    problem::Problem,
    users::{Reason, Which},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{CeName, NodeName};
use spinor_store::NodeBan;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPilots, routes!(nodes)))
        .merge(guarded.route(Permission::Operate, routes!(ban_node)))
        .merge(guarded.route(Permission::Operate, routes!(allow_node)))
}

/// A node whose pilots get no jobs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeBanView {
    /// Where.
    pub ce: String,
    /// Which, as it calls itself.
    pub node: String,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339; until somebody allows it again, if nothing is said.
    pub until: Option<String>,
    /// Why.
    pub reason: String,
}

impl From<NodeBan> for NodeBanView {
    fn from(ban: NodeBan) -> Self {
        Self {
            ce: ban.ce.to_string(),
            node: ban.node.to_string(),
            since: ban.since.to_string(),
            until: ban.until.map(|until| until.to_string()),
            reason: ban.reason,
        }
    }
}

/// Lists a VO's nodes that get no jobs: those that somebody banned, and those that failed several jobs
/// fast, one after the other, which ran well elsewhere.
#[utoipa::path(get, path = "/api/nodes", tag = "pilots", params(Which),
    responses((status = 200, body = Vec<NodeBanView>)))]
async fn nodes(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<Which>,
) -> Result<Json<Vec<NodeBanView>>, Problem> {
    let bans = app.lifecycle.node_bans(&of.vo(&subject)?);
    Ok(Json(bans.into_iter().map(NodeBanView::from).collect()))
}

fn named(ce: &str, node: &str) -> Result<(CeName, NodeName), Problem> {
    Ok((ce.parse()?, node.parse()?))
}

/// Bans a node: pilots there get no more jobs. What runs there goes on.
#[utoipa::path(put, path = "/api/ces/{ce}/nodes/{node}/ban", tag = "pilots", params(Which),
    request_body = Reason, responses((status = 200, body = NodeBanView), (status = 404, body = Problem)))]
async fn ban_node(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((ce, node)): Path<(String, String)>,
    Query(of): Query<Which>,
    Json(reason): Json<Reason>,
) -> Result<Json<NodeBanView>, Problem> {
    let vo = of.vo(&subject)?;
    let (ce, node) = named(&ce, &node)?;
    if !app.lifecycle.document(&vo)?.ces.contains_key(&ce) {
        return Err(Problem::not_found(format!("VO {vo} has no CE {ce}")));
    }
    let (since, reason) = (app.lifecycle.now(), format!("{subject}: {}", reason.of_ban()?));
    let ban = NodeBan { vo, ce, node, since, until: None, reason };
    tracing::info!(target: "spinor::audit", vo = %ban.vo, ce = %ban.ce, node = %ban.node, by = %subject, "node banned");
    whole(async move {
        app.lifecycle.ban_node(&ban).await?;
        Ok(Json(ban.into()))
    })
    .await
}

/// Allows a node again.
#[utoipa::path(delete, path = "/api/ces/{ce}/nodes/{node}/ban", tag = "pilots", params(Which),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn allow_node(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((ce, node)): Path<(String, String)>,
    Query(of): Query<Which>,
) -> Result<Json<serde_json::Value>, Problem> {
    let vo = of.vo(&subject)?;
    let (ce, node) = named(&ce, &node)?;
    tracing::info!(target: "spinor::audit", %vo, %ce, %node, by = %subject, "node allowed again");
    whole(async move {
        match app.lifecycle.allow_node(&vo, &ce, &node).await? {
            true => Ok(Json(serde_json::json!({"ce": ce, "node": node}))),
            false => Err(Problem::not_found(format!("node {node} of CE {ce} is not banned"))),
        }
    })
    .await
}
