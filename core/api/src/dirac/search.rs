//! Searching and counting jobs.

use super::query::{
    PageQuery, Row, SearchBody, SummaryBody, body, conditions, grouping, paged, read, rows,
    searched,
};
use crate::{Guarded, Shared, problem::Problem};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::id::JobId;
use spinor_store::{EventRecord, Search, Table};
use std::collections::BTreeMap;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::ReadJobs, routes!(search)))
        .merge(guarded.route(Permission::ReadJobs, routes!(summary)))
}

/// The pseudo-column that holds a job's log.
const LOG: &str = "LoggingInfo";

/// Searches jobs of one's VO. `LoggingInfo` among the parameters brings each job's log along.
#[utoipa::path(post, path = "/api/jobs/search", tag = "jobs", params(PageQuery), request_body = SearchBody,
    responses((status = 200, body = Vec<Object>), (status = 206, body = Vec<Object>), (status = 400, body = Problem)))]
async fn search(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(page): Query<PageQuery>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let mut asked: SearchBody = body(&bytes)?;
    let with_log = take_log(&mut asked);
    if with_log && asked.distinct {
        return Err(Problem::bad_request("LoggingInfo is a job's: distinct rows have none"));
    }
    let mut search = searched(&app, subject.vo(), Table::Jobs, &asked, &page).await?;
    let key = Table::Jobs.key();
    let hides_key = with_log && !search.columns.contains(&key);
    if hides_key {
        search.columns.insert(0, key);
    }
    let found = app.lifecycle.store.search(&search).await?;
    let mut shown = rows(&search.columns, &found.rows)?;
    if with_log {
        add_logs(&app, &mut shown).await?;
    }
    if hides_key {
        shown.iter_mut().for_each(|row| row.hidden = 1);
    }
    Ok(paged("jobs", &search, found.total, shown))
}

fn take_log(asked: &mut SearchBody) -> bool {
    let Some(names) = &mut asked.parameters else { return false };
    let before = names.len();
    names.retain(|name| name != LOG);
    names.len() < before
}

async fn add_logs(app: &Shared, rows: &mut [Row<'_>]) -> Result<(), Problem> {
    // The key is the first of the columns.
    let id = |row: &Row<'_>| row.values.first()?.get().parse().ok().map(JobId);
    let ids: Vec<JobId> = rows.iter().filter_map(id).collect();
    let mut logs: BTreeMap<JobId, Vec<EventRecord>> = BTreeMap::new();
    for (job, event) in app.lifecycle.store.logs(&ids).await? {
        logs.entry(job).or_default().push(event);
    }
    for row in rows {
        let entries = id(row).and_then(|id| logs.remove(&id)).map(log).unwrap_or_default();
        row.more = Some((LOG, Value::Array(entries)));
    }
    Ok(())
}

/// A log in the order of its times, each entry with all that was known by then.
fn log(mut events: Vec<EventRecord>) -> Vec<Value> {
    events.sort_by_key(|event| event.time);
    let mut application = "Unknown".to_owned();
    let entry = |event: EventRecord| {
        if !event.application_status.is_empty() {
            application = event.application_status;
        }
        json!({
            "Status": event.status,
            "MinorStatus": event.minor_status,
            "ApplicationStatus": application,
            "StatusTime": event.time,
            "Source": event.source,
        })
    };
    events.into_iter().map(entry).collect()
}

/// Counts jobs of one's VO by columns.
#[utoipa::path(post, path = "/api/jobs/summary", tag = "jobs", request_body = SummaryBody,
    responses((status = 200, body = Vec<Object>), (status = 400, body = Problem)))]
async fn summary(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    counted(&app, &subject, Table::Jobs, &bytes).await
}

/// Rows of a summary.
const MAX_COUNTS: u32 = 10_000;

/// Counts by columns.
pub(super) async fn counted(
    app: &Shared,
    subject: &Subject,
    table: Table,
    bytes: &Bytes,
) -> Result<Response, Problem> {
    let asked: SummaryBody = read(bytes)?;
    let vo = subject.vo().cloned();
    let search = Search {
        table,
        conditions: conditions(app, table, vo.as_ref(), &asked.search).await?,
        vo,
        columns: grouping(table, &asked.grouping)?,
        sort: Vec::new(),
        distinct: false,
        offset: 0,
        limit: MAX_COUNTS + 1,
    };
    let counted = app.lifecycle.store.count_by(&search).await?;
    if counted.rows.count() > MAX_COUNTS as usize {
        let text = format!("grouping: over {MAX_COUNTS} different rows; narrow the search");
        return Err(Problem::bad_request(text));
    }
    let mut view = rows(&search.columns, &counted.rows)?;
    for row in &mut view {
        row.more = row.values.pop().map(|count| ("count", json!(count)));
    }
    Ok(Json(view).into_response())
}
