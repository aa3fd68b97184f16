//! People of a VO: who has logged in, and who is shut out.

use crate::{
    Guarded, Shared,
    auth::{parsed, vo_of, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{UserName, VoName};
use spinor_store::{JobFilter, OrderAnswer};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let manage = |route| guarded.route(Permission::ManageUsers, route);
    OpenApiRouter::new()
        .merge(manage(routes!(list)))
        .merge(manage(routes!(ban)))
        .merge(manage(routes!(unban)))
}

/// Somebody who has logged in, or is shut out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// What they are called here.
    pub user: String,
    /// How the VO's provider numbers them, if they have logged in.
    pub sub: Option<String>,
    /// What the provider last said of their memberships.
    pub entitlements: Vec<String>,
    /// When it said so, RFC 3339.
    pub checked: Option<String>,
    /// Why they are shut out, if they are.
    pub banned: Option<String>,
}

/// Which VO.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Which {
    /// Operators name the VO.
    pub(crate) vo: Option<String>,
}

impl Which {
    /// The VO that a request is about.
    pub(crate) fn vo(&self, subject: &Subject) -> Result<VoName, Problem> {
        let asked: Option<VoName> = parsed("vo", self.vo.as_ref())?;
        vo_of(subject, asked.as_ref())
    }
}

/// Lists people of a VO.
#[utoipa::path(get, path = "/api/users", tag = "users", params(Which), responses((status = 200, body = Vec<UserView>)))]
async fn list(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<UserView>>, Problem> {
    let vo = which.vo(&subject)?;
    let store = &app.lifecycle.store;
    let mut bans = store.bans().await?;
    bans.retain(|ban| ban.vo == vo);
    let mut views = Vec::new();
    for user in store.users(&vo).await? {
        let banned =
            bans.iter().position(|ban| ban.user == user.user).map(|at| bans.remove(at).reason);
        views.push(UserView {
            user: user.user.to_string(),
            sub: Some(user.sub),
            entitlements: user.entitlements.into_iter().collect(),
            checked: Some(user.checked.to_string()),
            banned,
        });
    }
    let unknown = |ban: spinor_store::Ban| UserView {
        user: ban.user.to_string(),
        sub: None,
        entitlements: Vec::new(),
        checked: None,
        banned: Some(ban.reason),
    };
    views.extend(bans.into_iter().map(unknown));
    Ok(Json(views))
}

/// Why somebody is shut out.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Reason {
    /// For the log, and for them.
    pub reason: String,
}

impl Reason {
    /// Of a ban of a site, a CE or a node, which must have one.
    pub(crate) fn of_ban(self) -> Result<String, Problem> {
        match self.reason.trim().is_empty() {
            true => {
                let text = "reason is empty: say why, for whoever wonders where the jobs are";
                Err(Problem::bad_request(text))
            }
            false => Ok(self.reason),
        }
    }
}

/// What shutting somebody out did.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Banned {
    /// Jobs of theirs that were killed.
    pub killed: u64,
}

/// By then every server has heard who is shut out.
const ELSEWHERE: std::time::Duration = std::time::Duration::from_secs(15);

/// Jobs killed in one go.
const PAGE: u32 = 1_000;

/// Shuts somebody out: their tokens end, and their jobs are killed.
#[utoipa::path(put, path = "/api/users/{user}/ban", tag = "users", params(Which), request_body = Reason,
    responses((status = 200, body = Banned)))]
async fn ban(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(user): Path<String>,
    Query(which): Query<Which>,
    Json(reason): Json<Reason>,
) -> Result<Json<Banned>, Problem> {
    let (vo, user) = (which.vo(&subject)?, user.parse()?);
    app.lifecycle.document(&vo)?;
    whole(async move {
        app.sessions.ban(&vo, &user, Some(&reason.reason)).await?;
        tracing::info!(target: "spinor::audit", by = %subject, %vo, %user, reason = reason.reason, "shut out");
        let by = subject.to_string();
        let killed = kill_all(&app, &vo, &user, &by).await?;
        // What came in elsewhere before that server had heard.
        tokio::spawn(async move {
            tokio::time::sleep(ELSEWHERE).await;
            if let Err(problem) = kill_all(&app, &vo, &user, &by).await {
                tracing::error!(%vo, %user, problem.detail, "jobs of somebody who is shut out may run");
            }
        });
        Ok(Json(Banned { killed }))
    })
    .await
}

async fn kill_all(app: &Shared, vo: &VoName, user: &UserName, by: &str) -> Result<u64, Problem> {
    use spinor_model::state::JobState;
    let open = JobState::ALL.iter().copied().filter(|state| !state.is_final()).collect();
    let mut filter = JobFilter {
        vo: Some(vo.clone()),
        owner: Some(user.clone()),
        statuses: open,
        site: None,
        template: None,
        after: None,
        newest: false,
        limit: PAGE,
    };
    let (lifecycle, mut killed) = (&app.lifecycle, 0);
    loop {
        let jobs = lifecycle.store.jobs(&filter).await?;
        let Some(last) = jobs.last() else { return Ok(killed) };
        filter.after = Some(last.id);
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        let now = lifecycle.now();
        let (answers, changes) = lifecycle.store.kill(vo, Some(user), &ids, by, now).await?;
        lifecycle.note(&changes).await?;
        killed += answers.iter().filter(|a| matches!(a, OrderAnswer::Ok { .. })).count() as u64;
    }
}

/// Lets somebody in again.
#[utoipa::path(delete, path = "/api/users/{user}/ban", tag = "users", params(Which), responses((status = 204)))]
async fn unban(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(user): Path<String>,
    Query(which): Query<Which>,
) -> Result<StatusCode, Problem> {
    let (vo, user) = (which.vo(&subject)?, user.parse()?);
    app.sessions.ban(&vo, &user, None).await?;
    tracing::info!(target: "spinor::audit", by = %subject, %vo, %user, "let in again");
    Ok(StatusCode::NO_CONTENT)
}
