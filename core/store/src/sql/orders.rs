//! What people order: kill, reschedule. And the clock: jobs whose time has come.

use super::{
    admission::asked_site,
    dialect::{Dialect, statement},
    moves::{Move, WAITS, job, move_job, moved, release_attempt},
    rows, sandboxes,
    statuses::{forget_commands, tell_to_end},
};
use crate::{Again, JobRecord, OrderAnswer, QueueChange, StoreError};
use spinor_model::{
    id::{JobId, UserName, VoName},
    state::JobState,
    time::Timestamp,
};
use sqlx::AnyConnection;

/// Who orders what when.
#[derive(Clone)]
pub struct Order {
    vo: VoName,
    owner: Option<UserName>,
    by: String,
    now: Timestamp,
}

type Answers = (Vec<OrderAnswer>, Vec<QueueChange>);

impl Order {
    /// An order of `by` for jobs of a VO, of one owner if given.
    pub fn new(vo: &VoName, owner: Option<&UserName>, by: &str, now: Timestamp) -> Self {
        Self { vo: vo.clone(), owner: owner.cloned(), by: by.to_owned(), now }
    }

    async fn find(
        &self,
        c: &mut AnyConnection,
        id: JobId,
    ) -> Result<Option<JobRecord>, StoreError> {
        let found = job(c, id).await?;
        let theirs = |job: &JobRecord| {
            job.vo == self.vo && self.owner.as_ref().is_none_or(|owner| *owner == job.owner)
        };
        Ok(found.filter(theirs))
    }

    /// Ends jobs. A running payload is ended by its pilot, which hears of it with its next call.
    pub async fn kill(&self, c: &mut AnyConnection, ids: &[JobId]) -> Result<Answers, StoreError> {
        self.each(c, ids, JobState::Killed, "Marked for termination", Again::Reset).await
    }

    /// Sends jobs back to the start: a new attempt, whatever became of the last.
    pub async fn reschedule(
        &self,
        c: &mut AnyConnection,
        ids: &[JobId],
        again: Again,
    ) -> Result<Answers, StoreError> {
        self.each(c, ids, JobState::Received, "Job Rescheduled", again).await
    }

    async fn each(
        &self,
        c: &mut AnyConnection,
        ids: &[JobId],
        to: JobState,
        minor: &str,
        again: Again,
    ) -> Result<Answers, StoreError> {
        // In the order in which everybody holds jobs; the answers in the order of the questions.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|i| ids[*i]);
        let (mut answers, mut changes) = (vec![OrderAnswer::NotFound; ids.len()], Vec::new());
        for i in order {
            let Some(job) = self.find(c, ids[i]).await? else { continue };
            if let Again::UpTo(limit) = again
                && job.reschedules >= limit
            {
                self.fail(c, &job, &mut changes).await?;
                let reason = format!("Maximum number of reschedules exceeded ({limit})");
                answers[i] = OrderAnswer::Refused { reason };
                continue;
            }
            if let Err(illegal) = job.status.to(to) {
                answers[i] = OrderAnswer::Refused { reason: illegal.to_string() };
                continue;
            }
            move_job(c, &job, Move { to, minor, source: &self.by, now: self.now }).await?;
            let ours = release_attempt(c, &job).await?;
            if to == JobState::Killed && !ours {
                tell_to_end(c, &job).await?;
            }
            if to == JobState::Received {
                self.restart(c, &job, again).await?;
            }
            changes.extend(moved(&job, to));
            answers[i] = OrderAnswer::Ok { status: to };
        }
        Ok((answers, changes))
    }

    /// A job that was sent back too often fails, unless it has ended already.
    async fn fail(
        &self,
        c: &mut AnyConnection,
        job: &JobRecord,
        changes: &mut Vec<QueueChange>,
    ) -> Result<(), StoreError> {
        if job.status.to(JobState::Failed).is_err() {
            return Ok(());
        }
        let minor = "Maximum of reschedulings reached";
        let failed = Move { to: JobState::Failed, minor, source: &self.by, now: self.now };
        move_job(c, job, failed).await?;
        release_attempt(c, job).await?;
        changes.extend(moved(job, JobState::Failed));
        Ok(())
    }

    async fn restart(
        &self,
        c: &mut AnyConnection,
        job: &JobRecord,
        again: Again,
    ) -> Result<(), StoreError> {
        forget_commands(c, job.id).await?;
        sandboxes::unassign(c, job.id).await?;
        let reschedules = match again {
            Again::UpTo(_) => job.reschedules + 1,
            Again::Reset => 0,
        };
        let class = sqlx::query("SELECT requirement FROM classes WHERE class_id = $1");
        let class = class.bind(job.class.0).fetch_one(&mut *c).await?;
        let site = asked_site(&rows::json(&class, "requirement")?);
        sqlx::query(
            "UPDATE jobs SET not_before = $1, rescheduled = $1, reschedules = $3, attempt_base = attempt,
                started = NULL, application_status = '', site = $4 WHERE job_id = $2",
        )
        .bind(self.now.0)
        .bind(job.id.0)
        .bind(i64::from(reschedules))
        .bind(site)
        .execute(c)
        .await?;
        Ok(())
    }
}

/// Received jobs whose time has come begin to wait.
pub async fn release_due(
    c: &mut AnyConnection,
    now: Timestamp,
) -> Result<Vec<QueueChange>, StoreError> {
    let due = sqlx::query(statement(format!(
        "SELECT * FROM jobs WHERE status = 'Received' AND job_id IN (SELECT job_id FROM jobs
            WHERE not_before <= $1 AND status = 'Received' ORDER BY not_before LIMIT 1000) ORDER BY job_id{}",
        Dialect::of(c).skip_locked()
    )))
    .bind(now.0)
    .fetch_all(&mut *c)
    .await?;
    let mut changes = Vec::new();
    for row in &due {
        let job = rows::job(row)?;
        let (minor, source) = (WAITS, "JobManager");
        let change_to = Move { to: JobState::Waiting, minor, source, now };
        move_job(c, &job, change_to).await?;
        changes.extend(moved(&job, JobState::Waiting));
    }
    Ok(changes)
}
