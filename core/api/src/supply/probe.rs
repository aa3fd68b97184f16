//! A CE is tried.

use crate::{Shared, auth::whole, problem::Problem, users::Which};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use spinor_identity::subject::Subject;
use spinor_lifecycle::supply::{NoProbe, Probe, Step};
use utoipa::{IntoParams, ToSchema};

/// What was done with a CE, how long it took, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// What.
    pub step: String,
    /// Milliseconds.
    pub took_ms: f64,
    /// Whether it went well.
    pub good: bool,
    /// What the CE said, or why it said nothing.
    pub outcome: String,
}

/// How a CE was tried.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
    /// One after the other.
    pub steps: Vec<StepView>,
    /// The pilot that was brought there, if one was: it is one like any other.
    pub stamp: Option<String>,
}

impl From<Probe> for ProbeView {
    fn from(probe: Probe) -> Self {
        let view = |step: Step| StepView {
            step: step.what.to_owned(),
            took_ms: step.took.as_secs_f64() * 1e3,
            good: step.outcome.is_ok(),
            outcome: step.outcome.unwrap_or_else(|why| why),
        };
        let stamp = probe.stamp.map(|stamp| stamp.to_string());
        Self { steps: probe.steps.into_iter().map(view).collect(), stamp }
    }
}

/// Which of a CE's queues.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct QueueOf {
    /// Operators name the VO.
    vo: Option<String>,
    /// The queue.
    queue: String,
}

/// Tries a CE: it is asked for room, and gets one pilot, whether anything waits or not.
#[utoipa::path(post, path = "/api/ces/{ce}/test", tag = "pilots", params(QueueOf),
    responses((status = 200, body = ProbeView), (status = 404, body = Problem)))]
pub(super) async fn test(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(ce): Path<String>,
    Query(QueueOf { vo, queue }): Query<QueueOf>,
) -> Result<Json<ProbeView>, Problem> {
    let vo = Which { vo }.vo(&subject)?;
    let (ce, queue) = (ce.parse()?, queue.parse()?);
    whole(async move {
        match app.lifecycle.probe(&vo, &ce, &queue).await {
            Ok(probe) => Ok(Json(probe.into())),
            Err(NoProbe::Lifecycle(error)) => Err(error.into()),
            Err(none) => Err(Problem::not_found(none.to_string())),
        }
    })
    .await
}
