//! From rows to records.

use crate::{AttemptRecord, AttemptState, EventRecord, JobRecord, PilotRecord, StoreError};
use serde::de::DeserializeOwned;
use spinor_model::{
    id::{AttemptNumber, ClassId, JobId, TemplateId},
    policy::RequirementClass,
    time::Timestamp,
};
use sqlx::{Row, any::AnyRow};
use std::{fmt::Display, str::FromStr, sync::Arc};

fn corrupt(what: &str, why: impl Display) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), why: why.to_string() }
}

/// A column whose text is a name, a state or a digest.
pub fn parsed<T: FromStr<Err: Display>>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| corrupt(column, error))
}

/// The beginning of a text, `length` characters at most, as both databases take it.
pub fn cut(text: &str, length: usize) -> String {
    plain(text).chars().take(length).collect()
}

/// A column whose text is JSON.
pub fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| corrupt(column, error))
}

/// A column with a count.
pub fn count<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> Result<T, StoreError> {
    let number: i64 = row.try_get(column)?;
    number.try_into().map_err(|_| corrupt(column, format!("{number} is out of range")))
}

/// A column with a time.
pub fn time(row: &AnyRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.try_get(column)?))
}

/// A column with a time, or with nothing.
pub fn maybe_time(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
}

/// Text for a column. PostgreSQL takes no NUL, which payloads may well write.
pub fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// JSON for a column; what we write always serialises.
pub fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt("value", error))
}

/// A row of `jobs`.
pub fn job(row: &AnyRow) -> Result<JobRecord, StoreError> {
    Ok(JobRecord {
        id: JobId(row.try_get("job_id")?),
        template: TemplateId(row.try_get("template_id")?),
        row: count(row, "row_number")?,
        name: row.try_get("name")?,
        vo: parsed(row, "vo")?,
        group: parsed(row, "grp")?,
        owner: parsed(row, "owner")?,
        person: row.try_get("person")?,
        job_type: parsed(row, "job_type")?,
        status: parsed(row, "status")?,
        minor_status: row.try_get("minor_status")?,
        application_status: row.try_get("application_status")?,
        site: row.try_get("site")?,
        priority: count(row, "priority")?,
        attempt: AttemptNumber(count(row, "attempt")?),
        reschedules: count(row, "reschedules")?,
        class: ClassId(row.try_get("class_id")?),
        submitted: time(row, "submitted")?,
        updated: time(row, "updated")?,
        started: maybe_time(row, "started")?,
        ended: maybe_time(row, "ended")?,
    })
}

/// A row of `events`.
pub fn event(row: &AnyRow) -> Result<EventRecord, StoreError> {
    Ok(EventRecord {
        time: time(row, "time")?,
        attempt: AttemptNumber(count(row, "attempt")?),
        status: parsed(row, "status")?,
        minor_status: row.try_get("minor_status")?,
        application_status: row.try_get("application_status")?,
        source: row.try_get("source")?,
    })
}

/// A row of `attempts`.
pub fn attempt(row: &AnyRow) -> Result<AttemptRecord, StoreError> {
    let state: String = row.try_get("state")?;
    let result: Option<String> = row.try_get("result")?;
    Ok(AttemptRecord {
        job: JobId(row.try_get("job_id")?),
        attempt: AttemptNumber(count(row, "attempt")?),
        state: attempt_state(&state)?,
        stamp: parsed(row, "stamp")?,
        site: parsed(row, "site")?,
        ce: parsed(row, "ce")?,
        cores: count(row, "cores")?,
        decider: json(row, "decider")?,
        score: row.try_get("score")?,
        claimed: time(row, "claimed")?,
        started: maybe_time(row, "started")?,
        ended: maybe_time(row, "ended")?,
        result: match result {
            Some(text) => Some(serde_json::from_str(&text).map_err(|e| corrupt("result", e))?),
            None => None,
        },
        stdout_tail: row.try_get("stdout_tail")?,
    })
}

/// The state of an attempt by its name.
pub fn attempt_state(text: &str) -> Result<AttemptState, StoreError> {
    use AttemptState::{Active, Ended, Killing, Lost};
    let found = [Active, Killing, Ended, Lost].into_iter().find(|s| s.as_str() == text);
    found.ok_or_else(|| corrupt("attempt state", text))
}

/// A row of `pilots`.
pub fn pilot(row: &AnyRow) -> Result<PilotRecord, StoreError> {
    Ok(PilotRecord {
        stamp: parsed(row, "stamp")?,
        vo: parsed(row, "vo")?,
        site: parsed(row, "site")?,
        ce: parsed(row, "ce")?,
        queue: parsed(row, "queue")?,
        cores: count(row, "cores")?,
        status: parsed(row, "status")?,
        status_reason: row.try_get("status_reason")?,
        unknown_since: maybe_time(row, "unknown_since")?,
        reference: row.try_get("reference")?,
        sent_by: match row.try_get::<Option<String>, _>("sent_by")? {
            Some(text) => Some(serde_json::from_str(&text).map_err(|e| corrupt("sent_by", e))?),
            None => None,
        },
        wall_time: count(row, "wall_time")?,
        submitted: time(row, "submitted")?,
        started: maybe_time(row, "started")?,
        last_seen: maybe_time(row, "last_seen")?,
        ended: maybe_time(row, "ended")?,
        jobs_run: count(row, "jobs_run")?,
        node: row.try_get::<String, _>("node")?.parse().ok(),
    })
}

/// A row of `classes`.
pub fn class(row: &AnyRow) -> Result<Arc<RequirementClass>, StoreError> {
    Ok(Arc::new(RequirementClass {
        id: ClassId(row.try_get("class_id")?),
        vo: parsed(row, "vo")?,
        group: parsed(row, "grp")?,
        job_type: parsed(row, "job_type")?,
        requirement: json(row, "requirement")?,
    }))
}
