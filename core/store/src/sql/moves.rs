//! Moving jobs: the one place that changes a job's state, with the log entry that goes with it.

use super::{
    dialect::{Dialect, Growing, parts, statement},
    rows,
};
use crate::{AttemptRecord, Changed, JobRecord, QueueChange, QueueKey, StoreError};
use spinor_model::{
    id::{AttemptNumber, ClassId, GroupName, JobId, JobType, VoName},
    state::JobState,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};

/// A job, as it is inside a transaction.
pub async fn job(c: &mut AnyConnection, id: JobId) -> Result<Option<JobRecord>, StoreError> {
    let text = format!("SELECT * FROM jobs WHERE job_id = $1{}", Dialect::of(c).for_update());
    let row = sqlx::query(statement(text)).bind(id.0).fetch_optional(c).await?;
    row.as_ref().map(rows::job).transpose()
}

/// An attempt, as it is inside a transaction, with its secret.
pub async fn attempt(
    c: &mut AnyConnection,
    job: JobId,
    attempt: AttemptNumber,
) -> Result<Option<(AttemptRecord, String)>, StoreError> {
    // Whoever changes an attempt holds its job: so two of them wait for each other in one order.
    if Dialect::of(c) == Dialect::Postgres {
        let job_row = sqlx::query("SELECT job_id FROM jobs WHERE job_id = $1 FOR UPDATE");
        job_row.bind(job.0).fetch_optional(&mut *c).await?;
    }
    let row = sqlx::query("SELECT * FROM attempts WHERE job_id = $1 AND attempt = $2")
        .bind(job.0)
        .bind(i64::from(attempt.0))
        .fetch_optional(c)
        .await?;
    row.map(|row| Ok((rows::attempt(&row)?, row.try_get("nonce")?))).transpose()
}

/// Where a job goes, and what is told of it.
pub struct Move<'a> {
    /// The state.
    pub to: JobState,
    /// More on that.
    pub minor: &'a str,
    /// Who brings it there.
    pub source: &'a str,
    /// When.
    pub now: Timestamp,
}

/// Moves a job, if the table of moves allows it, and logs it.
pub async fn move_job(
    c: &mut AnyConnection,
    job: &JobRecord,
    change: Move<'_>,
) -> Result<(), StoreError> {
    let started = (change.to == JobState::Running).then_some(change.now);
    move_started(c, job, change, started).await
}

/// The same of a job whose payload started at some time, which may not have been told before.
pub async fn move_started(
    c: &mut AnyConnection,
    job: &JobRecord,
    change: Move<'_>,
    started: Option<Timestamp>,
) -> Result<(), StoreError> {
    let to = job.status.to(change.to).map_err(|illegal| StoreError::Move(job.id, illegal))?;
    let changed = Changed {
        status: Some(to),
        minor: Some(rows::cut(change.minor, MINOR)),
        application: None,
        started,
        ended: to.is_final().then_some(change.now),
        heartbeat: None,
    };
    let (time, application, source) = (change.now, String::new(), change.source.to_owned());
    let entry = Entry { job, changed, application, time, source };
    write(c, &[&entry], change.now).await?;
    log(c, &[&entry]).await
}

/// Characters of a minor status.
pub const MINOR: usize = 128;

/// The minor status of jobs that wait, in DIRAC's words.
pub const WAITS: &str = "Pilot Agent Submission";

/// What changes of a job, and the entry of its log that goes with it.
pub struct Entry<'a> {
    /// The job, as it was.
    pub job: &'a JobRecord,
    /// What changes.
    pub changed: Changed,
    /// What the entry says of the payload.
    pub application: String,
    /// Since when it is so.
    pub time: Timestamp,
    /// Who says so.
    pub source: String,
}

/// Writes what changed of different jobs. What becomes Received is due at once, unless whoever sends it back
/// says otherwise; nothing else has a time to wait for.
pub async fn write(
    c: &mut AnyConnection,
    entries: &[&Entry<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    for part in parts(entries) {
        let mut update = Growing::new(
            "UPDATE jobs SET status = coalesce(column2, status),
                minor_status = coalesce(column3, minor_status),
                application_status = coalesce(column4, application_status),
                started = coalesce(started, column5),
                ended = CASE WHEN column2 IS NULL THEN ended ELSE column6 END,
                not_before = CASE WHEN column2 IS NULL THEN not_before ELSE column7 END,
                heartbeat = CASE WHEN column8 > coalesce(heartbeat, 0) THEN column8 ELSE heartbeat END,
                updated = $1
             FROM (VALUES",
        );
        update.hold(now.0)?;
        for Entry { job, changed, .. } in part {
            let due = (changed.status == Some(JobState::Received)).then_some(now.0);
            let row = [
                job.id.0.into(),
                changed.status.map(|status| status.as_str().to_owned()).into(),
                changed.minor.clone().into(),
                changed.application.clone().into(),
                changed.started.map(|time| time.0).into(),
                changed.ended.map(|time| time.0).into(),
                due.into(),
                changed.heartbeat.map(|time| time.0).into(),
            ];
            update.row(row, "")?;
        }
        update.push(") AS told WHERE job_id = column1");
        update.execute(&mut *c).await?;
    }
    Ok(())
}

/// Jobs were heard of.
pub async fn heard_of(
    c: &mut AnyConnection,
    jobs: &[JobId],
    now: Timestamp,
) -> Result<(), StoreError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let those = Dialect::of(c).numbers("$1");
    let text = format!("UPDATE jobs SET heartbeat = $2 WHERE job_id IN {those}");
    sqlx::query(statement(text)).bind(rows::to_json(&jobs)?).bind(now.0).execute(c).await?;
    Ok(())
}

/// Adds entries to logs of jobs.
pub async fn log(c: &mut AnyConnection, entries: &[&Entry<'_>]) -> Result<(), StoreError> {
    for part in parts(entries) {
        let mut insert = Growing::new(
            "INSERT INTO events (job_id, attempt, time, status, minor_status, application_status, source)
             VALUES",
        );
        for Entry { job, changed, application, time, source } in part {
            let row = [
                job.id.0.into(),
                i64::from(job.attempt.0).into(),
                time.0.into(),
                changed.status.unwrap_or(job.status).as_str().to_owned().into(),
                changed.minor.as_ref().unwrap_or(&job.minor_status).clone().into(),
                application.clone().into(),
                source.clone().into(),
            ];
            insert.row(row, "")?;
        }
        insert.execute(&mut *c).await?;
    }
    Ok(())
}

/// The job's attempt, if one is under way, is no longer the job's; whether there was one.
pub async fn release_attempt(c: &mut AnyConnection, job: &JobRecord) -> Result<bool, StoreError> {
    let released = sqlx::query(
        "UPDATE attempts SET state = 'killing'
         WHERE job_id = $1 AND attempt = $2 AND state = 'active'",
    );
    let released = released.bind(job.id.0).bind(i64::from(job.attempt.0)).execute(c).await?;
    Ok(released.rows_affected() == 1)
}

/// The number of a class, given now if it is new.
pub async fn intern_class(
    c: &mut AnyConnection,
    (vo, group, job_type): (&VoName, &GroupName, &JobType),
    requirement: &str,
) -> Result<ClassId, StoreError> {
    const FIND: &str = "SELECT class_id FROM classes WHERE vo = $1 AND grp = $2 AND job_type = $3
        AND requirement = $4";
    const ADD: &str = "INSERT INTO classes (vo, grp, job_type, requirement) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING";
    let those = |text: &'static str| {
        let (vo, group, job_type) = (vo.to_string(), group.to_string(), job_type.to_string());
        sqlx::query(text).bind(vo).bind(group).bind(job_type).bind(requirement.to_owned())
    };
    let mut found = those(FIND).fetch_optional(&mut *c).await?;
    if found.is_none() {
        those(ADD).execute(&mut *c).await?;
        found = those(FIND).fetch_optional(c).await?;
    }
    let row = found.ok_or(sqlx::Error::RowNotFound)?;
    Ok(ClassId(row.try_get("class_id")?))
}

/// What a job's move means for its queue.
pub fn moved(job: &JobRecord, to: JobState) -> Option<QueueChange> {
    let waits = |state| i64::from(state == JobState::Waiting);
    let delta = waits(to) - waits(job.status);
    (delta != 0).then(|| change(job, delta))
}

/// The queue of a job, longer or shorter by `delta`.
pub fn change(job: &JobRecord, delta: i64) -> QueueChange {
    QueueChange { queue: QueueKey { class: job.class, owner: job.owner.clone() }, delta }
}
