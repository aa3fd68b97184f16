//! Jobs sent back to the start.

use super::{query::read, status::each};
use crate::{
    Guarded, Shared,
    auth::{parsed, whole},
    orders::Order,
    problem::Problem,
    speakers::{missing, theirs},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{JobId, VoName};
use spinor_store::{Again, JobRecord, OrderAnswer};
use std::collections::BTreeMap;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(guarded.route(Permission::ManageJobs, routes!(reschedule)))
}

/// Whether to count anew.
#[derive(Debug, Deserialize, IntoParams)]
struct Reset {
    /// The job's count of reschedules begins anew.
    #[serde(default)]
    reset_jobs: bool,
}

/// Sends jobs back to the start, whatever became of them, as often as their VO allows.
#[utoipa::path(post, path = "/api/jobs/reschedule", tag = "jobs", params(Reset), request_body = Order,
    responses((status = 200, body = Object), (status = 400, body = Object)))]
async fn reschedule(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(Reset { reset_jobs }): Query<Reset>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let order: Order = read(&bytes)?;
    let asked: Option<VoName> = parsed("vo", order.vo.as_ref())?;
    let mut found = theirs(&app, &subject, order.job_ids.iter().copied()).await?;
    found.retain(|_, job| asked.as_ref().is_none_or(|vo| *vo == job.vo));
    let mut by_vo: BTreeMap<VoName, Vec<JobId>> = BTreeMap::new();
    for job in found.values() {
        by_vo.entry(job.vo.clone()).or_default().push(job.id);
    }
    let (by, lifecycle) = (subject.to_string(), app.lifecycle.clone());
    let (mut success, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for id in order.job_ids.iter().filter(|id| !found.contains_key(id)) {
        failed.insert(*id, missing(id));
    }
    for (vo, ids) in by_vo {
        let limit = lifecycle.document(&vo)?.limits.max_reschedules;
        let again = if reset_jobs { Again::Reset } else { Again::UpTo(limit) };
        let (lifecycle, by, sent) = (lifecycle.clone(), by.clone(), ids.clone());
        let answers = whole(async move {
            let now = lifecycle.now();
            let (answers, changes) =
                lifecycle.store.reschedule(&vo, None, &sent, again, &by, now).await?;
            lifecycle.note(&changes).await?;
            Ok(answers)
        });
        for (id, answer) in ids.iter().zip(answers.await?) {
            match answer {
                OrderAnswer::Ok { .. } => drop(success.insert(id.0, Value::Null)),
                OrderAnswer::NotFound => drop(failed.insert(id.0, missing(id))),
                OrderAnswer::Refused { reason } => drop(failed.insert(id.0, reason)),
            }
        }
    }
    let ids: Vec<JobId> = success.keys().copied().map(JobId).collect();
    for job in app.lifecycle.store.jobs_by_id(&ids).await? {
        success.insert(job.id.0, rescheduled(&job));
    }
    let otherwise = success.is_empty().then_some(StatusCode::BAD_REQUEST);
    Ok(each(success, failed, otherwise))
}

fn rescheduled(job: &JobRecord) -> Value {
    json!({
        "Status": job.status,
        "MinorStatus": job.minor_status,
        "Site": job.site,
        "UserPriority": job.priority,
        "RescheduleTime": job.updated,
        "RescheduleCounter": job.reschedules,
    })
}
