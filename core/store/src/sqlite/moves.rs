//! Moving jobs: the one place that changes a job's state, with the log entry that goes with it.

use super::rows::{self, to_json};
use crate::{AttemptRecord, JobRecord, QueueChange, QueueKey, StoreError};
use spinor_model::{
    id::{AttemptNumber, ClassId, GroupName, JobId, JobType, VoName},
    requirement::Requirement,
    state::JobState,
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection};

/// A job, as it is inside a transaction.
pub async fn job(c: &mut SqliteConnection, id: JobId) -> Result<Option<JobRecord>, StoreError> {
    let row =
        sqlx::query("SELECT * FROM jobs WHERE job_id = ?").bind(id.0).fetch_optional(c).await?;
    row.as_ref().map(rows::job).transpose()
}

/// An attempt, as it is inside a transaction, with its secret.
pub async fn attempt(
    c: &mut SqliteConnection,
    job: JobId,
    attempt: AttemptNumber,
) -> Result<Option<(AttemptRecord, String)>, StoreError> {
    let row = sqlx::query("SELECT * FROM attempts WHERE job_id = ? AND attempt = ?")
        .bind(job.0)
        .bind(attempt.0)
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
    c: &mut SqliteConnection,
    job: &JobRecord,
    change: Move<'_>,
) -> Result<(), StoreError> {
    let to = job.status.to(change.to).map_err(|illegal| StoreError::Move(job.id, illegal))?;
    let minor: String = change.minor.chars().take(128).collect();
    sqlx::query(
        "UPDATE jobs SET status = ?, minor_status = ?, updated = ?,
            started = CASE WHEN ? = 'Running' AND started IS NULL THEN ? ELSE started END,
            ended = CASE WHEN ? THEN ? ELSE NULL END
         WHERE job_id = ?",
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
    c: &mut SqliteConnection,
    id: JobId,
    attempt: u32,
    change: &Move<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO events (job_id, attempt, time, status, minor_status, source)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id.0)
    .bind(attempt)
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
    c: &mut SqliteConnection,
    vo: &VoName,
    group: &GroupName,
    job_type: &JobType,
    requirement: &Requirement,
) -> Result<ClassId, StoreError> {
    let requirement = to_json(&requirement.class())?;
    sqlx::query(
        "INSERT INTO classes (vo, grp, job_type, requirement) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(vo.as_str())
    .bind(group.as_str())
    .bind(job_type.as_str())
    .bind(&requirement)
    .execute(&mut *c)
    .await?;
    let row = sqlx::query(
        "SELECT class_id FROM classes WHERE vo = ? AND grp = ? AND job_type = ? AND requirement = ?",
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
