//! Facts: varying quantities that policies steer pilots by.

use crate::{Guarded, Shared, problem::Problem, users::Which};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{finding::Finding, id::FactName, policy::Fact};
use spinor_store::FactRecord;
use std::{collections::BTreeMap, time::Duration};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadPlugins, routes!(facts)))
        .merge(guarded.route(Permission::ManagePolicies, routes!(tell)))
}

/// A fact.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FactView {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub subject: String,
    /// It.
    pub value: f64,
    /// When it was told, RFC 3339.
    pub told: String,
    /// Until when it counts, RFC 3339.
    pub until: String,
}

impl From<FactRecord> for FactView {
    fn from(FactRecord { fact, told, until }: FactRecord) -> Self {
        let Fact { name, subject, value } = fact;
        Self { name, subject, value, told: told.to_string(), until: until.to_string() }
    }
}

/// Values of a fact, and how long they count.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// By what they are about, e.g. a site.
    pub values: BTreeMap<String, f64>,
    /// Hours that they count, 24 if not given.
    #[serde(default = "a_day")]
    pub hours: f64,
}

fn a_day() -> f64 {
    24.0
}

const MAX_HOURS: f64 = 24.0 * 366.0;
const MAX_SUBJECT: usize = 255;
/// Values in one request.
const MAX_VALUES: usize = 10_000;

impl Told {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !(self.hours > 0.0 && self.hours <= MAX_HOURS) {
            findings.push(Finding::new("hours", self.hours, "must be positive, a year at most"));
        }
        if self.values.len() > MAX_VALUES {
            let message = format!("{MAX_VALUES} at a time");
            findings.push(Finding::new("values", self.values.len(), message));
        }
        for (subject, value) in &self.values {
            let named = !subject.is_empty() && subject.len() <= MAX_SUBJECT;
            if !named || subject.chars().any(char::is_control) || !value.is_finite() {
                let message = "is no number about something that has a name";
                findings.push(Finding::new(format!("values.{subject}"), value, message));
            }
        }
        findings
    }
}

/// Lists a VO's facts that still count.
#[utoipa::path(get, path = "/api/facts", tag = "pilots", params(Which),
    responses((status = 200, body = Vec<FactView>)))]
async fn facts(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(of): Query<Which>,
) -> Result<Json<Vec<FactView>>, Problem> {
    let vo = of.vo(&subject)?;
    let told = app.lifecycle.store.facts(&vo, app.lifecycle.now()).await?;
    Ok(Json(told.into_iter().map(FactView::from).collect()))
}

/// Tells the server of something that varies: what steers the VO's pilots reads it from its next round on.
#[utoipa::path(put, path = "/api/facts/{name}", tag = "pilots", params(Which), request_body = Told,
    responses((status = 200, body = Vec<FactView>), (status = 422, body = Problem)))]
async fn tell(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(name): Path<String>,
    Query(of): Query<Which>,
    Json(told): Json<Told>,
) -> Result<Json<Vec<FactView>>, Problem> {
    let vo = of.vo(&subject)?;
    app.lifecycle.document(&vo)?;
    let name: FactName = name.parse()?;
    let findings = told.findings();
    if !findings.is_empty() {
        return Err(Problem::findings(findings));
    }
    let now = app.lifecycle.now();
    let until = now.plus(Duration::from_secs_f64(told.hours * 3600.0));
    let record = |(subject, value)| {
        let fact = Fact { name: name.to_string(), subject, value };
        FactRecord { fact, told: now, until }
    };
    let records: Vec<FactRecord> = told.values.into_iter().map(record).collect();
    app.lifecycle.store.tell_facts(&vo, &records).await?;
    Ok(Json(records.into_iter().map(FactView::from).collect()))
}
