//! Logs of jobs. How each begins is in no table, since it is the same for all.

use super::{
    dialect::{Dialect, statement},
    moves::WAITS,
    rows,
};
use crate::{EventRecord, StoreError};
use spinor_model::{
    id::{AttemptNumber, JobId},
    state::JobState,
    time::Timestamp,
};
use sqlx::{AnyPool, Row};

/// The logs of jobs, one after the other, each from its first entry.
pub async fn read(
    readers: &AnyPool,
    dialect: Dialect,
    jobs: &[JobId],
) -> Result<Vec<(JobId, EventRecord)>, StoreError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT jobs.job_id, jobs.submitted, event_id, events.attempt, time, events.status, events.minor_status,
            events.application_status, source
         FROM jobs LEFT JOIN events ON events.job_id = jobs.job_id WHERE jobs.job_id IN {}
         ORDER BY jobs.job_id, event_id",
        dialect.numbers("$1")
    );
    let found = sqlx::query(statement(text)).bind(rows::to_json(&jobs)?).fetch_all(readers).await?;
    let mut log: Vec<(JobId, EventRecord)> = Vec::new();
    for row in found {
        let job = JobId(row.try_get("job_id")?);
        let entry = match row.try_get::<Option<i64>, _>("event_id")? {
            Some(_) => Some(rows::event(&row)?),
            None => None,
        };
        if log.last().is_none_or(|(last, _)| *last != job) {
            let beginning = beginning(rows::time(&row, "submitted")?);
            // Earlier servers wrote it down.
            let written = entry.as_ref() == beginning.first();
            log.extend(beginning.into_iter().filter(|_| !written).map(|entry| (job, entry)));
        }
        log.extend(entry.map(|entry| (job, entry)));
    }
    Ok(log)
}

/// Every job was received, and waits.
fn beginning(submitted: Timestamp) -> [EventRecord; 2] {
    let entry = |status, minor: &str| EventRecord {
        time: submitted,
        attempt: AttemptNumber(0),
        status,
        minor_status: minor.to_owned(),
        application_status: String::new(),
        source: "JobManager".to_owned(),
    };
    [entry(JobState::Received, "Job accepted"), entry(JobState::Waiting, WAITS)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        JobStore,
        sql::testing::{store, waiting},
    };

    const EVENTS: &str =
        "INSERT INTO events (job_id, attempt, time, status, minor_status, source) VALUES
            (2, 0, 5, 'Received', 'Job accepted', 'JobManager'),
            (2, 0, 5, 'Waiting', 'Pilot Agent Submission', 'JobManager'),
            (3, 1, 8, 'Matched', 'Assigned', 'Matcher')";

    #[tokio::test]
    async fn every_log_has_its_beginning_once() {
        let (store, _directory) = store().await;
        // One without a log of its own, one that a server logged from its beginning, one that ran.
        waiting(&store, &["ada", "ada", "ada"]).await;
        let write =
            store.write(|c| Box::pin(async move { Ok(sqlx::query(EVENTS).execute(c).await?) }));
        write.await.unwrap();
        let log = |id| store.events(JobId(id));
        assert_eq!(log(1).await.unwrap(), beginning(Timestamp(5)));
        assert_eq!(log(2).await.unwrap(), beginning(Timestamp(5)));
        let third = log(3).await.unwrap();
        assert_eq!(third[..2], beginning(Timestamp(5)));
        assert_eq!((third.len(), third[2].status), (3, JobState::Matched));
        assert!(log(4).await.unwrap().is_empty());
        let ids = [3, 1, 2, 4].map(JobId);
        assert_eq!(read(&store.readers, store.dialect, &ids).await.unwrap().len(), 7);
    }
}
