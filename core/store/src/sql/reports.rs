//! What is reported of jobs and pilots by those who run them elsewhere.

use super::{
    SqlStore,
    moves::{change, job},
    rows,
};
use crate::{Changed, JobRecord, QueueChange, ReportAnswer, ReportStore, StatusReport, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{JobId, VoName},
    state::JobState,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};
use std::collections::BTreeMap;

/// States that whoever runs a job elsewhere may report, or its owner order. The others are this server's.
const REPORTED: [JobState; 9] = [
    JobState::Received,
    JobState::Waiting,
    JobState::Matched,
    JobState::Running,
    JobState::Completing,
    JobState::Completed,
    JobState::Done,
    JobState::Failed,
    JobState::Killed,
];

/// What a report makes of a job's state.
enum Step {
    /// Nothing.
    Stay,
    /// This.
    To(JobState),
    /// It cannot be.
    Refused(String),
}

fn step(found: &JobRecord, held: bool, report: &StatusReport) -> Step {
    let wanted = match report.status {
        // A job that is sent back begins anew.
        Some(JobState::Rescheduled) => JobState::Received,
        Some(status) => status,
        None => return Step::Stay,
    };
    let order = matches!(wanted, JobState::Killed | JobState::Deleted);
    if wanted == found.status || (held && !order && wanted != JobState::Running) {
        // The pilot that has it says how it ends.
        return Step::Stay;
    }
    if report.force {
        return Step::To(wanted);
    }
    if !REPORTED.contains(&wanted) && !order {
        return Step::Refused(format!("{wanted} is for this server to say"));
    }
    // A job that was thought dead is not, if somebody hears of it; what runs is killed on its way out.
    let from = if found.status == JobState::Stalled { JobState::Running } else { found.status };
    let ended = found.status.is_final() && wanted != JobState::Deleted;
    match found.status.to(wanted).or_else(|_| from.to(wanted)) {
        _ if ended => Step::Refused(format!("it is {} and stays so; reschedule it", found.status)),
        Ok(to) => Step::To(to),
        Err(_) if from == wanted => Step::To(wanted),
        Err(_) if wanted == JobState::Deleted && from.to(JobState::Killed).is_ok() => {
            Step::To(wanted)
        }
        Err(illegal) => Step::Refused(illegal.to_string()),
    }
}

async fn report(
    c: &mut AnyConnection,
    report: &StatusReport,
    by: &str,
    now: Timestamp,
    changes: &mut Vec<QueueChange>,
) -> Result<ReportAnswer, StoreError> {
    let Some(found) = job(c, report.job).await? else { return Ok(ReportAnswer::NotFound) };
    // Clocks of workers are not trusted to be ahead.
    let time = Timestamp(report.time.0.min(now.0));
    let held = is_held(c, &found).await?;
    let status = match step(&found, held, report) {
        Step::Refused(why) => return Ok(ReportAnswer::Refused(why)),
        Step::Stay => None,
        Step::To(status) => Some(status),
    };
    let order = matches!(status, Some(JobState::Killed | JobState::Deleted));
    if !order && !report.force && time < latest(c, report.job).await? {
        // Something newer is known: it is only logged.
        let told = Changed {
            status: report.status,
            minor: report.minor.clone(),
            application: report.application.clone(),
            ..Changed::default()
        };
        log(c, &found, &told, time, report, by).await?;
        return Ok(ReportAnswer::Taken(Changed::default()));
    }
    let cut = |text: &Option<String>, length| -> Option<String> {
        text.as_ref().map(|text| rows::plain(text).chars().take(length).collect())
    };
    let changed = Changed {
        status,
        minor: cut(&report.minor, 128),
        application: cut(&report.application, 255),
        started: status
            .filter(|s| *s == JobState::Running && found.started.is_none())
            .map(|_| time),
        ended: status.filter(|s| s.is_final()).map(|_| time),
    };
    write_change(c, &found, &changed, now).await?;
    if let Some(to) = status {
        follow_up(c, &found, to, held, now, changes).await?;
    }
    log(c, &found, &changed, time, report, by).await?;
    Ok(ReportAnswer::Taken(changed))
}

/// Whether a pilot of ours has a job.
async fn is_held(c: &mut AnyConnection, found: &JobRecord) -> Result<bool, StoreError> {
    let held = sqlx::query(
        "SELECT 1 FROM attempts WHERE job_id = $1 AND attempt = $2 AND state = 'active'",
    );
    let held = held.bind(found.id.0).bind(i64::from(found.attempt.0)).fetch_optional(c).await?;
    Ok(held.is_some())
}

/// The time of the newest entry of a job's log.
async fn latest(c: &mut AnyConnection, id: JobId) -> Result<Timestamp, StoreError> {
    let row = sqlx::query("SELECT coalesce(max(time), 0) AS newest FROM events WHERE job_id = $1");
    rows::time(&row.bind(id.0).fetch_one(c).await?, "newest")
}

async fn write_change(
    c: &mut AnyConnection,
    found: &JobRecord,
    changed: &Changed,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs SET status = coalesce($1, status), minor_status = coalesce($2, minor_status),
            application_status = coalesce($3, application_status), started = coalesce(started, $4),
            ended = CASE WHEN CAST($1 AS TEXT) IS NULL THEN ended ELSE $5 END, updated = $6
         WHERE job_id = $7",
    )
    .bind(changed.status.map(|status| status.as_str().to_owned()))
    .bind(changed.minor.clone())
    .bind(changed.application.clone())
    .bind(changed.started.map(|time| time.0))
    .bind(changed.ended.map(|time| time.0))
    .bind(now.0)
    .bind(found.id.0)
    .execute(c)
    .await?;
    Ok(())
}

/// What a job's new state means for its queue, for the pilot that has it, and for whoever else runs it.
async fn follow_up(
    c: &mut AnyConnection,
    found: &JobRecord,
    to: JobState,
    held: bool,
    now: Timestamp,
    changes: &mut Vec<QueueChange>,
) -> Result<(), StoreError> {
    let waits = |status| status == JobState::Waiting;
    if waits(found.status) != waits(to) {
        changes.push(change(found, if waits(to) { 1 } else { -1 }));
    }
    if to != JobState::Running {
        sqlx::query(
            "UPDATE attempts SET state = 'killing'
             WHERE job_id = $1 AND attempt = $2 AND state = 'active'",
        )
        .bind(found.id.0)
        .bind(i64::from(found.attempt.0))
        .execute(&mut *c)
        .await?;
    }
    // What is Received becomes Waiting with the next round.
    let due = (to == JobState::Received).then_some(now.0);
    sqlx::query("UPDATE jobs SET not_before = $1 WHERE job_id = $2")
        .bind(due)
        .bind(found.id.0)
        .execute(&mut *c)
        .await?;
    match to {
        JobState::Killed | JobState::Deleted if !held => tell_to_end(c, found).await,
        JobState::Received | JobState::Waiting => forget_commands(c, found.id).await,
        _ => Ok(()),
    }
}

/// Whoever runs a job elsewhere hears with its next heartbeat that it is to end.
pub(super) async fn tell_to_end(
    c: &mut AnyConnection,
    found: &JobRecord,
) -> Result<(), StoreError> {
    if found.status.is_held_by_pilot() || found.status == JobState::Completing {
        sqlx::query("INSERT INTO job_commands (job_id, command) VALUES ($1, 'Kill')")
            .bind(found.id.0)
            .execute(c)
            .await?;
    }
    Ok(())
}

/// What was meant for an attempt is not for the next.
pub(super) async fn forget_commands(c: &mut AnyConnection, id: JobId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM job_commands WHERE job_id = $1").bind(id.0).execute(c).await?;
    Ok(())
}

async fn log(
    c: &mut AnyConnection,
    found: &JobRecord,
    changed: &Changed,
    time: Timestamp,
    report: &StatusReport,
    by: &str,
) -> Result<(), StoreError> {
    let source = match report.source.as_str() {
        "" | "Unknown" => by,
        source => source,
    };
    sqlx::query(
        "INSERT INTO events (job_id, attempt, time, status, minor_status, application_status, source)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(found.id.0)
    .bind(i64::from(found.attempt.0))
    .bind(time.0)
    .bind(changed.status.unwrap_or(found.status).as_str())
    .bind(changed.minor.as_ref().unwrap_or(&found.minor_status))
    .bind(changed.application.as_ref().unwrap_or(&found.application_status))
    .bind(rows::plain(source).chars().take(64).collect::<String>())
    .execute(c)
    .await?;
    Ok(())
}

async fn alive(
    c: &mut AnyConnection,
    id: JobId,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let Some(found) = job(c, id).await? else { return Ok(Vec::new()) };
    sqlx::query("UPDATE jobs SET heartbeat = $1 WHERE job_id = $2")
        .bind(now.0)
        .bind(id.0)
        .execute(&mut *c)
        .await?;
    if matches!(found.status, JobState::Matched | JobState::Stalled) {
        let runs = StatusReport {
            job: id,
            time: now,
            status: Some(JobState::Running),
            minor: None,
            application: None,
            source: "Heartbeat".to_owned(),
            force: false,
        };
        report(c, &runs, "Heartbeat", now, &mut Vec::new()).await?;
    }
    let told = sqlx::query("DELETE FROM job_commands WHERE job_id = $1 RETURNING command");
    let told = told.bind(id.0).fetch_all(c).await?;
    told.iter().map(|row| Ok(row.try_get("command")?)).collect()
}

#[async_trait]
impl ReportStore for SqlStore {
    async fn report(
        &self,
        reports: &[StatusReport],
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<ReportAnswer>, Vec<QueueChange>), StoreError> {
        let (reports, by) = (reports.to_vec(), by.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let (mut answers, mut changes) = (Vec::new(), Vec::new());
                // In the order in which everybody holds jobs, and of each job's own times.
                let mut order: Vec<usize> = (0..reports.len()).collect();
                order.sort_by_key(|i| (reports[*i].job, reports[*i].time));
                answers.resize(reports.len(), ReportAnswer::NotFound);
                for i in order {
                    answers[i] = report(c, &reports[i], &by, now, &mut changes).await?;
                }
                Ok((answers, changes))
            })
        })
        .await
    }

    async fn alive(
        &self,
        jobs: &[JobId],
        now: Timestamp,
    ) -> Result<Vec<(JobId, String)>, StoreError> {
        let mut jobs = jobs.to_vec();
        jobs.sort();
        self.write(move |c| {
            Box::pin(async move {
                let mut told = Vec::new();
                for id in jobs {
                    let commands = alive(c, id, now).await?;
                    told.extend(commands.into_iter().map(|command| (id, command)));
                }
                Ok(told)
            })
        })
        .await
    }

    async fn fail_unheard(
        &self,
        vo: &VoName,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let vo = vo.clone();
        self.write(move |c| {
            Box::pin(async move {
                let unheard = sqlx::query(
                    "SELECT job_id FROM jobs WHERE vo = $1
                        AND status IN ('Matched', 'Running', 'Stalled', 'Completing', 'Completed')
                        AND coalesce(heartbeat, 0) < $2 AND updated < $2
                        AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.job_id
                            AND attempts.attempt = jobs.attempt AND state <> 'killing')
                     ORDER BY job_id LIMIT 500",
                );
                let unheard = unheard.bind(vo.as_str()).bind(before.0).fetch_all(&mut *c).await?;
                for row in &unheard {
                    let failed = StatusReport {
                        job: JobId(row.try_get("job_id")?),
                        time: now,
                        status: Some(JobState::Failed),
                        minor: Some("Job stalled: pilot not running".to_owned()),
                        application: None,
                        source: "Watchdog".to_owned(),
                        force: true,
                    };
                    report(c, &failed, "Watchdog", now, &mut Vec::new()).await?;
                }
                Ok(unheard.len() as u64)
            })
        })
        .await
    }

    async fn set_parameters(
        &self,
        parameters: &[(JobId, String, serde_json::Value)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let parameters = parameters.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for (id, name, value) in parameters {
                    sqlx::query(
                        "INSERT INTO job_parameters VALUES ($1, $2, $3, $4)
                         ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value,
                            updated = excluded.updated",
                    )
                    .bind(id.0)
                    .bind(rows::plain(&name).chars().take(128).collect::<String>())
                    .bind(value.to_string())
                    .bind(now.0)
                    .execute(&mut *c)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn parameters(
        &self,
        job: JobId,
    ) -> Result<BTreeMap<String, serde_json::Value>, StoreError> {
        let found = sqlx::query("SELECT name, value FROM job_parameters WHERE job_id = $1");
        let found = found.bind(job.0).fetch_all(&self.readers).await?;
        found.iter().map(|row| Ok((row.try_get("name")?, rows::json(row, "value")?))).collect()
    }

    async fn set_sites(&self, sites: &[(JobId, String)], now: Timestamp) -> Result<(), StoreError> {
        let sites = sites.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for (id, site) in sites {
                    sqlx::query("UPDATE jobs SET site = $1, updated = $2 WHERE job_id = $3")
                        .bind(rows::plain(&site).chars().take(100).collect::<String>())
                        .bind(now.0)
                        .bind(id.0)
                        .execute(&mut *c)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn source(&self, job: JobId) -> Result<Option<(String, Vec<String>)>, StoreError> {
        let found = sqlx::query(
            "SELECT source, input_data FROM templates JOIN jobs USING (template_id)
             WHERE jobs.job_id = $1",
        );
        let found = found.bind(job.0).fetch_optional(&self.readers).await?;
        let source = |row| Ok((Row::try_get(&row, "source")?, rows::json(&row, "input_data")?));
        found.map(source).transpose()
    }
}
