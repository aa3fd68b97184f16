//! Attempts: claimed, heard of, ended.

use super::{
    SqlStore, claims, conclusions,
    moves::{self, Move, move_job, move_started},
    rows::{self, to_json},
    sandboxes,
    usage::record_unjudged,
    watch,
};
use crate::{
    AttemptRecord, AttemptState, AttemptStore, Beat, BeatAnswer, ClaimRequest, Claimed, Judgement,
    PendingConclusion, QueueChange, ResultAnswer, StoreError,
};
use async_trait::async_trait;
use spinor_model::{
    id::{AttemptNumber, JobId, Stamp, VoName},
    plan::{AttemptResult, Ending},
    state::JobState,
    time::Timestamp,
    usage::Outcome,
};
use sqlx::AnyConnection;

async fn beat(
    c: &mut AnyConnection,
    stamp: &Stamp,
    beats: &[Beat],
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<BeatAnswer>, StoreError> {
    // In the order in which everybody holds jobs; the answers in the order of the questions.
    let mut order: Vec<usize> = (0..beats.len()).collect();
    order.sort_by_key(|i| beats[*i].job);
    let mut answers = vec![BeatAnswer::Kill; beats.len()];
    for i in order {
        let told = &beats[i];
        let found = moves::attempt(c, told.job, told.attempt).await?;
        let held = found.filter(|(a, _)| a.state == AttemptState::Active && a.stamp == *stamp);
        let Some((attempt, _)) = held else {
            continue;
        };
        if let Some(job) = moves::job(c, told.job).await?
            && matches!(job.status, JobState::Matched | JobState::Stalled)
        {
            let (to, minor) = (JobState::Running, "Application");
            move_job(c, &job, Move { to, minor, source: stamp.as_str(), now }).await?;
        }
        let started = attempt.started.unwrap_or(now);
        sqlx::query(
            "UPDATE attempts SET lease_until = $1, started = $2, stdout_tail = $3
             WHERE job_id = $4 AND attempt = $5",
        )
        .bind(lease_until.0)
        .bind(started.0)
        .bind(rows::plain(&told.stdout_tail))
        .bind(told.job.0)
        .bind(i64::from(told.attempt.0))
        .execute(&mut *c)
        .await?;
        answers[i] = BeatAnswer::Continue;
    }
    let heard = beats.iter().zip(&answers).filter(|(_, answer)| **answer == BeatAnswer::Continue);
    let heard: Vec<JobId> = heard.map(|(told, _)| told.job).collect();
    moves::heard_of(c, &heard, now).await?;
    Ok(answers)
}

async fn finish(
    c: &mut AnyConnection,
    stamp: &Stamp,
    result: &AttemptResult,
    now: Timestamp,
) -> Result<ResultAnswer, StoreError> {
    let refused = |why: &str| Ok(ResultAnswer::Refused(why.to_owned()));
    let Some((attempt, nonce)) = moves::attempt(c, result.job, result.attempt).await? else {
        return refused("there was never such an attempt");
    };
    if attempt.stamp != *stamp {
        return refused("the attempt belongs to another pilot");
    }
    if nonce != result.nonce {
        return refused("the nonce is not that of this attempt");
    }
    let Some(job) = moves::job(c, result.job).await? else {
        return refused("the job is gone");
    };
    match attempt.state {
        AttemptState::Ended => Ok(ResultAnswer::Repeated),
        AttemptState::Lost => refused("the attempt was given up, and the job went on without it"),
        AttemptState::Active if job.status.to(JobState::Completing).is_ok() => {
            end(c, result, now).await?;
            let minor = "Judging the result";
            let source = stamp.as_str();
            let change = Move { to: JobState::Completing, minor, source, now };
            move_started(c, &job, change, started(&attempt, result, now)).await?;
            conclusions::ask(c, result.job, result.attempt, now).await?;
            sandboxes::hand_over(c, &job, result.output).await?;
            Ok(ResultAnswer::Accepted)
        }
        // Somebody else has said how the job ends: what it used still counts.
        AttemptState::Active | AttemptState::Killing => {
            end(c, result, now).await?;
            record_unjudged(c, &job, attempt, result.clone(), now).await?;
            Ok(ResultAnswer::UsageOnly)
        }
    }
}

/// When a payload started that has ended just now: a short one has, before anyone asked how it fares.
fn started(attempt: &AttemptRecord, result: &AttemptResult, now: Timestamp) -> Option<Timestamp> {
    use Ending::{Exited, Memory, Signalled, WallTime};
    if !matches!(result.ending, Exited { .. } | Signalled { .. } | WallTime { .. } | Memory { .. })
    {
        return None;
    }
    let wall = (result.consumption.wall_seconds * 1000.0) as i64;
    Some(Timestamp(now.0.saturating_sub(wall)).clamp(attempt.claimed, now.max(attempt.claimed)))
}

async fn end(
    c: &mut AnyConnection,
    result: &AttemptResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE attempts SET state = 'ended', ended = $1, result = $2, stdout_tail = $3
         WHERE job_id = $4 AND attempt = $5",
    )
    .bind(now.0)
    .bind(to_json(result)?)
    .bind(rows::plain(&result.stdout_tail))
    .bind(result.job.0)
    .bind(i64::from(result.attempt.0))
    .execute(c)
    .await?;
    Ok(())
}

#[async_trait]
impl AttemptStore for SqlStore {
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.write(move |c| Box::pin(claims::claim(c, request))).await
    }

    async fn unheard_of(
        &self,
        stamp: &Stamp,
        holds: &[(JobId, AttemptNumber)],
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        claims::unheard_of(&mut connection, stamp, holds).await
    }

    async fn beat(
        &self,
        stamp: &Stamp,
        beats: &[Beat],
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<BeatAnswer>, StoreError> {
        let (stamp, beats) = (stamp.clone(), beats.to_vec());
        self.write(move |c| {
            Box::pin(async move { beat(c, &stamp, &beats, lease_until, now).await })
        })
        .await
    }

    async fn finish(
        &self,
        stamp: &Stamp,
        result: &AttemptResult,
        now: Timestamp,
    ) -> Result<ResultAnswer, StoreError> {
        let (stamp, result) = (stamp.clone(), result.clone());
        self.write(move |c| Box::pin(async move { finish(c, &stamp, &result, now).await })).await
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<AttemptRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM attempts WHERE job_id = $1 ORDER BY attempt");
        let rows = found.bind(id.0).fetch_all(&self.readers).await?;
        rows.iter().map(rows::attempt).collect()
    }

    async fn attempts_of_vo(
        &self,
        vo: &VoName,
        after: JobId,
        jobs: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM attempts WHERE job_id IN
                (SELECT job_id FROM jobs WHERE vo = $1 AND job_id > $2 ORDER BY job_id LIMIT $3)
             ORDER BY job_id, attempt",
        );
        let found = found.bind(vo.as_str()).bind(after.0).bind(i64::from(jobs));
        found.fetch_all(&self.readers).await?.iter().map(rows::attempt).collect()
    }

    async fn pending_conclusions(&self, limit: u32) -> Result<Vec<PendingConclusion>, StoreError> {
        conclusions::pending(&self.readers, limit).await
    }

    async fn conclude(
        &self,
        pending: &PendingConclusion,
        judgement: Judgement,
        usage_outcome: Outcome,
        source: &str,
        now: Timestamp,
    ) -> Result<Vec<QueueChange>, StoreError> {
        let (pending, source) = (pending.clone(), source.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                conclusions::conclude(c, &pending, judgement, usage_outcome, &source, now).await
            })
        })
        .await
    }

    async fn hold(
        &self,
        id: JobId,
        attempt: AttemptNumber,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let minor = rows::cut(&format!("Held: {reason}"), moves::MINOR);
        self.write(move |c| {
            Box::pin(async move {
                let query = sqlx::query(
                    "UPDATE jobs SET minor_status = $1, updated = $2 WHERE job_id = $3 AND attempt = $4
                        AND status = 'Completing' AND minor_status <> $5",
                );
                let query = query.bind(&minor).bind(now.0).bind(id.0).bind(i64::from(attempt.0)).bind(&minor);
                query.execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn stall_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |c| Box::pin(watch::stall_expired(c, now))).await
    }

    async fn lose_stalled(
        &self,
        vo: &VoName,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let vo = vo.clone();
        self.write(move |c| Box::pin(watch::lose_stalled(c, vo, before, now))).await
    }

    async fn lose_attempts_of(
        &self,
        stamp: &Stamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (stamp, reason) = (stamp.clone(), reason.to_owned());
        self.write(move |c| Box::pin(watch::lose_attempts_of(c, stamp, reason, now))).await
    }

    async fn renew_leases(&self, until: Timestamp) -> Result<(), StoreError> {
        self.write(move |c| Box::pin(watch::renew_leases(c, until))).await
    }
}
