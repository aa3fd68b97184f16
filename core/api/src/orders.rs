//! Orders concerning jobs: kill, reschedule; and what a payload says of itself.

use crate::{
    Guarded, Shared,
    auth::{manages, parsed, vo_of, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::{JobId, VoName};
use spinor_store::OrderAnswer;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ManageJobs, routes!(kill)))
        .merge(guarded.route(Permission::ReportJob, routes!(report)))
}

/// Which jobs.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Order {
    /// Their numbers, at most 10000.
    pub job_ids: Vec<i64>,
    /// Operators name the VO.
    pub vo: Option<String>,
}

/// What became of each job.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
    /// New states of those that obeyed.
    pub success: BTreeMap<i64, Obeyed>,
    /// Why the others did not.
    pub failed: BTreeMap<i64, NotObeyed>,
}

/// A job that obeyed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Obeyed {
    /// Its state now.
    pub status: String,
}

/// A job that did not.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NotObeyed {
    /// Why.
    pub detail: String,
}

const MAX_ORDER: usize = 10_000;

impl Order {
    fn read(&self, subject: &Subject) -> Result<(VoName, Vec<JobId>), Problem> {
        if self.job_ids.len() > MAX_ORDER {
            let text = format!("job_ids has {} entries; send 10000 at most", self.job_ids.len());
            return Err(Problem::bad_request(text));
        }
        let asked = parsed("vo", self.vo.as_ref())?;
        let vo = vo_of(subject, asked.as_ref())?;
        Ok((vo, self.job_ids.iter().copied().map(JobId).collect()))
    }
}

fn ordered(ids: &[JobId], answers: Vec<OrderAnswer>) -> Json<Ordered> {
    let mut ordered = Ordered::default();
    for (id, answer) in ids.iter().zip(answers) {
        let detail = match answer {
            OrderAnswer::Ok { status } => {
                ordered.success.insert(id.0, Obeyed { status: status.to_string() });
                continue;
            }
            OrderAnswer::NotFound => format!("there is no job {id}, or it is not yours to manage"),
            OrderAnswer::Refused { reason } => reason,
        };
        ordered.failed.insert(id.0, NotObeyed { detail });
    }
    Json(ordered)
}

/// Ends jobs: at once where they wait, by their pilot where they run.
#[utoipa::path(post, path = "/api/jobs/kill", tag = "jobs", request_body = Order,
    responses((status = 200, body = Ordered)))]
async fn kill(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Json(order): Json<Order>,
) -> Result<Json<Ordered>, Problem> {
    let (vo, ids) = order.read(&subject)?;
    let (by, now) = (subject.to_string(), app.lifecycle.now());
    let owner = manages(&subject).cloned();
    whole(async move {
        let store = &app.lifecycle.store;
        let (answers, changes) = store.kill(&vo, owner.as_ref(), &ids, &by, now).await?;
        app.lifecycle.note(&changes).await?;
        Ok(ordered(&ids, answers))
    })
    .await
}

/// What a payload says of itself.
#[derive(Debug, Deserialize, ToSchema)]
struct Report {
    /// At most 255 characters.
    application_status: String,
}

/// Sets what a payload says of itself; only the payload's own token may.
#[utoipa::path(put, path = "/api/jobs/{id}/application-status", tag = "jobs", request_body = Report,
    responses((status = 204)))]
async fn report(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
    Json(report): Json<Report>,
) -> Result<StatusCode, Problem> {
    let Subject::Job { job, attempt, .. } = subject else {
        return Err(Problem::forbidden("only a job has the permission to report on itself"));
    };
    if job.0 != id {
        let text = format!("this token has job {job}'s permission, not job {id}'s");
        return Err(Problem::forbidden(text));
    }
    let (store, now) = (&app.lifecycle.store, app.lifecycle.now());
    match store.set_application_status(job, attempt, &report.application_status, now).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let text = format!("attempt {attempt} of job {job} is over");
            Err(Problem::new(StatusCode::CONFLICT, text))
        }
    }
}
