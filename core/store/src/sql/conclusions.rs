//! The outbox of ended attempts, and the judgements that empty it.

use super::{
    moves::{self, Move, intern_class, move_job, moved},
    rows,
    usage::{outcome_of, record_usage},
};
use crate::{Judgement, PendingConclusion, QueueChange, StoreError, usage_of};
use spinor_model::{
    id::{AttemptNumber, JobId},
    state::JobState,
    time::Timestamp,
    usage::Outcome,
};
use sqlx::{AnyConnection, AnyPool};

/// Puts an ended attempt into the outbox.
pub async fn ask(
    c: &mut AnyConnection,
    job: JobId,
    attempt: AttemptNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO conclusions (job_id, attempt, since) VALUES ($1, $2, $3)")
        .bind(job.0)
        .bind(i64::from(attempt.0))
        .bind(now.0)
        .execute(c)
        .await?;
    Ok(())
}

/// What is in the outbox, the oldest first; then held ones, in any order, so that none starves.
pub async fn pending(pool: &AnyPool, limit: u32) -> Result<Vec<PendingConclusion>, StoreError> {
    let asked = sqlx::query(
        "SELECT conclusions.job_id, conclusions.attempt, jobs.attempt_base,
            templates.template, templates.requirement, templates.planned_by
         FROM conclusions JOIN jobs USING (job_id) JOIN templates USING (template_id)
         ORDER BY jobs.minor_status LIKE 'Held:%',
            CASE WHEN jobs.minor_status LIKE 'Held:%' THEN random() END,
            conclusions.since, conclusions.job_id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let mut pending = Vec::with_capacity(asked.len());
    let mut connection = pool.acquire().await?;
    for row in &asked {
        let id = JobId(sqlx::Row::try_get(row, "job_id")?);
        let attempt = AttemptNumber(rows::count(row, "attempt")?);
        let base: u32 = rows::count(row, "attempt_base")?;
        let job = moves::job(&mut connection, id).await?;
        let record = moves::attempt(&mut connection, id, attempt).await?;
        if let (Some(job), Some((record, _))) = (job, record) {
            pending.push(PendingConclusion {
                job,
                attempt: record,
                attempts_used: attempt.0.saturating_sub(base),
                template: sqlx::Row::try_get(row, "template")?,
                requirement: rows::json(row, "requirement")?,
                planned_by: rows::json(row, "planned_by")?,
            });
        }
    }
    Ok(pending)
}

/// Writes a judgement and the attempt's usage, and takes it from the outbox. If the job was killed
/// or rescheduled meanwhile, only the usage counts.
pub async fn conclude(
    c: &mut AnyConnection,
    pending: &PendingConclusion,
    judgement: Judgement,
    outcome: Outcome,
    source: &str,
    now: Timestamp,
) -> Result<Vec<QueueChange>, StoreError> {
    let (id, attempt) = (pending.job.id, pending.attempt.attempt);
    let removed = sqlx::query("DELETE FROM conclusions WHERE job_id = $1 AND attempt = $2")
        .bind(id.0)
        .bind(i64::from(attempt.0))
        .execute(&mut *c)
        .await?;
    let Some(job) = moves::job(c, id).await? else { return Ok(Vec::new()) };
    if removed.rows_affected() == 0 {
        return Ok(Vec::new());
    }
    if job.status != JobState::Completing || job.attempt != attempt {
        let outcome = outcome_of(&job, &pending.attempt);
        record_usage(c, &usage_of(&job, &pending.attempt, outcome, now)).await?;
        return Ok(Vec::new());
    }
    record_usage(c, &usage_of(&job, &pending.attempt, outcome, now)).await?;
    match judgement {
        Judgement::Done => {
            let minor = "Execution Complete";
            move_job(c, &job, Move { to: JobState::Done, minor, source, now }).await?;
            Ok(Vec::new())
        }
        Judgement::Failed(reason) => {
            move_job(c, &job, Move { to: JobState::Failed, minor: &reason, source, now }).await?;
            Ok(Vec::new())
        }
        Judgement::Retry { reason, not_before, requirement } => {
            let class = match requirement {
                Some(requirement) => {
                    let requirement = rows::to_json(&requirement.class())?;
                    intern_class(c, (&job.vo, &job.group, &job.job_type), &requirement).await?
                }
                None => job.class,
            };
            let minor = format!("Tried again: {reason}");
            move_job(c, &job, Move { to: JobState::Received, minor: &minor, source, now }).await?;
            sqlx::query(
                "UPDATE jobs SET not_before = $1, class_id = $2, site = 'ANY' WHERE job_id = $3",
            )
            .bind(not_before.0)
            .bind(class.0)
            .bind(id.0)
            .execute(&mut *c)
            .await?;
            if not_before > now {
                return Ok(Vec::new());
            }
            let Some(job) = moves::job(c, id).await? else { return Ok(Vec::new()) };
            let minor = moves::WAITS;
            move_job(c, &job, Move { to: JobState::Waiting, minor, source, now }).await?;
            Ok(moved(&job, JobState::Waiting).into_iter().collect())
        }
    }
}
