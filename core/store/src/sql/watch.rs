//! What time does to attempts: leases run out, stalled ones are given up, the dead are buried.

use super::{
    conclusions,
    dialect::{Dialect, statement},
    moves::{self, Move, move_job},
    rows::{self, to_json},
    usage::record_unjudged,
};
use crate::{AttemptRecord, AttemptState, StoreError};
use spinor_model::{
    id::{Stamp, VoName},
    plan::{AttemptResult, Consumption, Ending},
    state::JobState,
    time::Timestamp,
};
use sqlx::{AnyConnection, any::AnyRow};

/// Attempts whose lease ran out become Stalled, in the same attempt.
pub async fn stall_expired(c: &mut AnyConnection, now: Timestamp) -> Result<u64, StoreError> {
    let expired = sqlx::query(statement(format!(
        "SELECT jobs.* FROM attempts JOIN jobs USING (job_id, attempt)
         WHERE attempts.state = 'active' AND attempts.lease_until < $1
            AND jobs.status IN ('Matched', 'Running'){}",
        Dialect::of(c).skip_locked()
    )))
    .bind(now.0)
    .fetch_all(&mut *c)
    .await?;
    for row in &expired {
        let job = rows::job(row)?;
        let minor = "Watchdog identified this job as stalled";
        let change = Move { to: JobState::Stalled, minor, source: "Watchdog", now };
        move_job(c, &job, change).await?;
    }
    Ok(expired.len() as u64)
}

/// Gives up attempts that have been Stalled for too long.
pub async fn lose_stalled(
    c: &mut AnyConnection,
    vo: VoName,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let stalled = sqlx::query(statement(format!(
        "SELECT attempts.* FROM attempts JOIN jobs USING (job_id, attempt)
         WHERE jobs.vo = $1 AND jobs.status = 'Stalled' AND attempts.state = 'active'
            AND attempts.lease_until < $2{}",
        Dialect::of(c).skip_locked()
    )))
    .bind(vo.as_str())
    .bind(before.0)
    .fetch_all(&mut *c)
    .await?;
    lose(c, &stalled, "Job stalled: its pilot has not been heard of", now).await
}

/// Gives up all attempts of a pilot that is dead.
pub async fn lose_attempts_of(
    c: &mut AnyConnection,
    stamp: Stamp,
    reason: String,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let held =
        sqlx::query("SELECT * FROM attempts WHERE stamp = $1 AND state IN ('active', 'killing')")
            .bind(stamp.as_str())
            .fetch_all(&mut *c)
            .await?;
    lose(c, &held, &reason, now).await
}

async fn lose(
    c: &mut AnyConnection,
    attempts: &[AnyRow],
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut listed = attempts.iter().map(rows::attempt).collect::<Result<Vec<_>, _>>()?;
    listed.sort_by_key(|attempt| (attempt.job, attempt.attempt));
    let mut given_up = 0;
    for listed in listed {
        // As it is now, its job held: it may have ended meanwhile.
        let Some((attempt, nonce)) = moves::attempt(c, listed.job, listed.attempt).await? else {
            continue;
        };
        if !matches!(attempt.state, AttemptState::Active | AttemptState::Killing) {
            continue;
        }
        given_up += 1;
        let result = lost(&attempt, nonce, reason, now);
        sqlx::query(
            "UPDATE attempts SET state = 'lost', ended = $1, result = $2
             WHERE job_id = $3 AND attempt = $4",
        )
        .bind(now.0)
        .bind(to_json(&result)?)
        .bind(attempt.job.0)
        .bind(i64::from(attempt.attempt.0))
        .execute(&mut *c)
        .await?;
        let Some(job) = moves::job(c, attempt.job).await? else { continue };
        let open = job.status.to(JobState::Completing).is_ok();
        if attempt.state == AttemptState::Active && open {
            let minor = "Judging the loss of its pilot";
            let change = Move { to: JobState::Completing, minor, source: "Watchdog", now };
            move_job(c, &job, change).await?;
            conclusions::ask(c, attempt.job, attempt.attempt, now).await?;
        } else {
            record_unjudged(c, &job, attempt, result, now).await?;
        }
    }
    Ok(given_up)
}

/// The result of an attempt that nobody reported on: wall time from claim to now, nothing else.
fn lost(attempt: &AttemptRecord, nonce: String, reason: &str, now: Timestamp) -> AttemptResult {
    let wall_seconds = now.since(attempt.claimed).as_secs_f64();
    AttemptResult {
        job: attempt.job,
        attempt: attempt.attempt,
        nonce,
        ending: Ending::Lost { reason: reason.to_owned() },
        consumption: Consumption { wall_seconds, ..Consumption::default() },
        output: None,
        missing_outputs: Vec::new(),
        stdout_tail: attempt.stdout_tail.clone(),
        stderr_tail: String::new(),
    }
}

/// Gives every lease at least until `until`.
pub async fn renew_leases(c: &mut AnyConnection, until: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempts SET lease_until = $1 WHERE state = 'active' AND lease_until < $1")
        .bind(until.0)
        .execute(c)
        .await?;
    Ok(())
}
