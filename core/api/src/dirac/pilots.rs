//! Pilots as DiracX's clients know them: ours to be found, others' to be told of.

use super::{
    query::{PageQuery, SearchBody, SummaryBody, body, paged, read, rows, searched, unprocessable},
    search::counted,
};
use crate::{Guarded, Shared, problem::Problem};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{
    id::{Stamp, VoName},
    state::PilotState,
};
use spinor_store::{PilotChange, RegisteredPilot, Table};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let register = |route| guarded.route(Permission::RegisterPilots, route);
    let read = |route| guarded.route(Permission::ReadPilots, route);
    OpenApiRouter::new()
        .merge(register(routes!(register_pilot)))
        .merge(register(routes!(metadata)))
        .merge(read(routes!(search)))
        .merge(read(routes!(summary)))
}

/// A pilot that somebody else sends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct New {
    pilot_stamp: String,
    vo: String,
    #[serde(default = "dirac")]
    grid_type: String,
    #[serde(default = "unknown")]
    grid_site: String,
    #[serde(default = "not_assigned")]
    destination_site: String,
    pilot_reference: Option<String>,
    #[serde(default = "submitted")]
    pilot_status: String,
}

fn dirac() -> String {
    "DIRAC".to_owned()
}

fn unknown() -> String {
    "Unknown".to_owned()
}

fn not_assigned() -> String {
    "NotAssigned".to_owned()
}

fn submitted() -> String {
    "Submitted".to_owned()
}

fn status(text: &str) -> Result<String, Problem> {
    let known: Result<PilotState, _> = text.parse();
    known.map(|state| state.to_string()).map_err(|error| unprocessable(format!("status: {error}")))
}

/// Pilots of one request.
const MAX_PILOTS: usize = 5_000;

/// A caller that may tell of pilots of its own VO alone.
fn check_vo(subject: &Subject, vo: &VoName) -> Result<(), Problem> {
    match subject.vo() {
        Some(own) if own != vo => {
            let permission = Permission::RegisterPilots;
            Err(Problem::forbidden(format!("the permission {permission} is missing in VO {vo}")))
        }
        _ => Ok(()),
    }
}

/// Tells of a pilot that somebody else sends.
#[utoipa::path(post, path = "/api/pilots/", tag = "pilots", request_body = New,
    responses((status = 201), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn register_pilot(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let new: New = read(&bytes)?;
    if new.pilot_stamp.len() > 32 {
        return Err(unprocessable("pilot_stamp has more than 32 characters".to_owned()));
    }
    let stamp: Stamp =
        new.pilot_stamp.parse().map_err(|error| unprocessable(format!("pilot_stamp: {error}")))?;
    let unknown =
        || Problem::bad_request(format!("VO {} is not known to this installation", new.vo));
    let vo: VoName = new.vo.parse().map_err(|_| unknown())?;
    app.lifecycle.document(&vo).map_err(|_| unknown())?;
    check_vo(&subject, &vo)?;
    let pilot = RegisteredPilot {
        reference: new.pilot_reference.unwrap_or_else(|| stamp.to_string()),
        stamp: stamp.clone(),
        vo,
        destination_site: new.destination_site,
        grid_site: new.grid_site,
        grid_type: new.grid_type,
        status: status(&new.pilot_status)?,
    };
    match app.lifecycle.store.register_pilot(&pilot, app.lifecycle.now()).await? {
        true => Ok((StatusCode::CREATED, Json(Value::Null))),
        false => {
            let text = format!("Pilot {stamp} is registered already");
            Err(Problem::new(StatusCode::CONFLICT, text))
        }
    }
}

/// What is known of a pilot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(rename = "StatusReason")]
    status_reason: Option<String>,
    #[serde(rename = "Status")]
    status: Option<String>,
    #[serde(rename = "BenchMark")]
    benchmark: Option<f64>,
    #[serde(rename = "DestinationSite")]
    destination_site: Option<String>,
    #[serde(rename = "Queue")]
    queue: Option<String>,
    #[serde(rename = "GridSite")]
    grid_site: Option<String>,
    #[serde(rename = "GridType")]
    grid_type: Option<String>,
    #[serde(rename = "AccountingSent")]
    accounting_sent: Option<bool>,
    #[serde(rename = "CurrentJobID")]
    current_job: Option<i64>,
}

/// Changes what is known of pilots that somebody else sends.
#[utoipa::path(patch, path = "/api/pilots/metadata", tag = "pilots", request_body = BTreeMap<String, Change>,
    responses((status = 204), (status = 404, body = Problem)))]
async fn metadata(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let told: BTreeMap<String, Change> = read(&bytes)?;
    if told.len() > MAX_PILOTS {
        let text = format!("{} pilots: send {MAX_PILOTS} at most", told.len());
        return Err(Problem::bad_request(text));
    }
    let alone =
        matches!(&subject, Subject::Member(m) if !m.properties.contains("ServiceAdministrator"));
    if alone && told.len() > 1 {
        return Err(Problem::forbidden(
            "for several pilots at a time the property ServiceAdministrator is missing",
        ));
    }
    let store = &app.lifecycle.store;
    let stamps: Vec<Stamp> = told.keys().filter_map(|name| name.parse().ok()).collect();
    let known = store.vos_of_pilots(&stamps).await?;
    let known: BTreeMap<Stamp, (VoName, bool)> =
        known.into_iter().map(|(stamp, vo, own)| (stamp, (vo, own))).collect();
    let mut changes = Vec::with_capacity(told.len());
    for (name, change) in told {
        let none = || Problem::not_found(format!("Pilot {name} not found"));
        let stamp: Stamp = name.parse().map_err(|_| none())?;
        let (vo, own) = known.get(&stamp).ok_or_else(none)?;
        check_vo(&subject, vo).map_err(|_| none())?;
        if *own {
            let text = format!(
                "nobody has the permission for pilot {stamp}: it is this server's own, and what is known of it comes from itself"
            );
            return Err(Problem::forbidden(text));
        }
        changes.push(PilotChange {
            stamp,
            status: change.status.as_deref().map(status).transpose()?,
            status_reason: change.status_reason,
            benchmark: change.benchmark,
            destination_site: change.destination_site,
            queue: change.queue,
            grid_site: change.grid_site,
            grid_type: change.grid_type,
            accounting_sent: change.accounting_sent,
            current_job: change.current_job,
        });
    }
    store.change_pilots(&changes, app.lifecycle.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Searches pilots of one's VO.
#[utoipa::path(post, path = "/api/pilots/search", tag = "pilots", params(PageQuery), request_body = SearchBody,
    responses((status = 200, body = Vec<Object>), (status = 206, body = Vec<Object>), (status = 400, body = Problem)))]
async fn search(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(page): Query<PageQuery>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let asked: SearchBody = body(&bytes)?;
    let search = searched(&app, subject.vo(), Table::Pilots, &asked, &page).await?;
    let found = app.lifecycle.store.search(&search).await?;
    let rows = rows(&search.columns, &found.rows)?;
    Ok(paged("pilots", &search, found.total, rows))
}

/// Counts pilots of one's VO by columns.
#[utoipa::path(post, path = "/api/pilots/summary", tag = "pilots", request_body = SummaryBody,
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem)))]
async fn summary(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    counted(&app, &subject, Table::Pilots, &bytes).await
}
