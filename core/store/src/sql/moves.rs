//! Moving jobs: the one place that changes a job's state, with the log entry that goes with it.

use super::{
    dialect::{Dialect, statement},
    rows::{self, to_json},
};
use crate::{AttemptRecord, JobRecord, QueueChange, QueueKey, StoreError};
use spinor_model::{
    id::{AttemptNumber, ClassId, GroupName, JobId, JobType, VoName},
    requirement::Requirement,
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
    let to = job.status.to(change.to).map_err(|illegal| StoreError::Move(job.id, illegal))?;
    let minor: String = rows::plain(change.minor).chars().take(128).collect();
    sqlx::query(
        "UPDATE jobs SET status = $1, minor_status = $2, updated = $3,
            started = CASE WHEN $4 = 'Running' AND started IS NULL THEN $5 ELSE started END,
            ended = CASE WHEN $6 THEN $7 ELSE NULL END,
            not_before = CASE WHEN $6 THEN NULL ELSE not_before END
         WHERE job_id = $8",
    )
    .bind(to.as_str())
    .bind(&minor)
    .bind(change.now.0)
    .bind(to.as_str())
    .bind(change.now.0)
    .bind(to.is_final())
    .bind(change.now.0)
    .bind(job.id.0)
    .execute(&mut *c)
    .await?;
    log(c, job.id, job.attempt.0, &Move { minor: &minor, ..change }).await
}

/// Adds an entry to a job's log.
pub async fn log(
    c: &mut AnyConnection,
    id: JobId,
    attempt: u32,
    change: &Move<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO events (job_id, attempt, time, status, minor_status, source)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.0)
    .bind(i64::from(attempt))
    .bind(change.now.0)
    .bind(change.to.as_str())
    .bind(change.minor)
    .bind(change.source)
    .execute(c)
    .await?;
    Ok(())
}

/// The number of a class, given now if it is new.
pub async fn intern_class(
    c: &mut AnyConnection,
    vo: &VoName,
    group: &GroupName,
    job_type: &JobType,
    requirement: &Requirement,
) -> Result<ClassId, StoreError> {
    let requirement = to_json(&requirement.class())?;
    sqlx::query(
        "INSERT INTO classes (vo, grp, job_type, requirement) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(vo.as_str())
    .bind(group.as_str())
    .bind(job_type.as_str())
    .bind(&requirement)
    .execute(&mut *c)
    .await?;
    let row = sqlx::query(
        "SELECT class_id FROM classes WHERE vo = $1 AND grp = $2 AND job_type = $3 AND requirement = $4",
    )
    .bind(vo.as_str())
    .bind(group.as_str())
    .bind(job_type.as_str())
    .bind(&requirement)
    .fetch_one(c)
    .await?;
    Ok(ClassId(row.try_get("class_id")?))
}

/// The queue of a job, longer or shorter by `delta`.
pub fn change(job: &JobRecord, delta: i64) -> QueueChange {
    QueueChange { queue: QueueKey { class: job.class, owner: job.owner.clone() }, delta }
}
