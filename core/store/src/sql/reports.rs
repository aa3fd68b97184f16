//! What is reported of jobs and pilots by those who run them elsewhere.

use super::{
    SqlStore,
    dialect::{Dialect, statement},
    moves::{self, MINOR, Move, job, moved, release_attempt, write},
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
const REPORTED: [JobState; 10] = [
    JobState::Received,
    JobState::Waiting,
    JobState::Matched,
    JobState::Running,
    JobState::Completing,
    JobState::Completed,
    JobState::Done,
    JobState::Failed,
    JobState::Killed,
    JobState::Deleted,
];

/// The state that a report brings a job to, if it does; or why it cannot be.
fn step(found: &JobRecord, held: bool, report: &StatusReport) -> Result<Option<JobState>, String> {
    let wanted = match report.status {
        // A job that is sent back begins anew.
        Some(JobState::Rescheduled) => JobState::Received,
        Some(status) => status,
        None => return Ok(None),
    };
    let order = matches!(wanted, JobState::Killed | JobState::Deleted);
    if wanted == found.status || (held && !order && wanted != JobState::Running) {
        // The pilot that has it says how it ends.
        return Ok(None);
    }
    if report.force {
        return Ok(Some(wanted));
    }
    if !REPORTED.contains(&wanted) {
        return Err(format!("{wanted} is for this server to say"));
    }
    if found.status.is_final() && wanted != JobState::Deleted {
        return Err(format!("it is {} and stays so; reschedule it", found.status));
    }
    // A job that was thought dead is not, if somebody hears of it; what runs is killed on its way out.
    let from = if found.status == JobState::Stalled { JobState::Running } else { found.status };
    match found.status.to(wanted).or_else(|_| from.to(wanted)) {
        Ok(to) => Ok(Some(to)),
        Err(_) if wanted == JobState::Deleted && from.to(JobState::Killed).is_ok() => {
            Ok(Some(wanted))
        }
        Err(illegal) => Err(illegal.to_string()),
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
        Err(why) => return Ok(ReportAnswer::Refused(why)),
        Ok(status) => status,
    };
    let minor = report.minor.as_ref().map(|text| rows::cut(text, MINOR));
    let application = report.application.as_ref().map(|text| rows::cut(text, 255));
    let order = matches!(status, Some(JobState::Killed | JobState::Deleted));
    if !order && !report.force && time < latest(c, report.job).await? {
        // Something newer is known: it is only logged.
        let told = Changed { status: report.status, minor, application, ..Changed::default() };
        log(c, &found, &told, time, report, by).await?;
        return Ok(ReportAnswer::Taken(Changed::default()));
    }
    let changed = Changed {
        status,
        minor,
        application,
        started: status
            .filter(|s| *s == JobState::Running && found.started.is_none())
            .map(|_| time),
        ended: status.filter(|s| s.is_final()).map(|_| time),
    };
    write(c, found.id, &changed, now).await?;
    if let Some(to) = status {
        follow_up(c, &found, to, held, changes).await?;
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

/// What a job's new state means for its queue, for the pilot that has it, and for whoever else runs it.
async fn follow_up(
    c: &mut AnyConnection,
    found: &JobRecord,
    to: JobState,
    held: bool,
    changes: &mut Vec<QueueChange>,
) -> Result<(), StoreError> {
    changes.extend(moved(found, to));
    if held && to != JobState::Running {
        release_attempt(c, found).await?;
    }
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
    let entry = Move {
        to: changed.status.unwrap_or(found.status),
        minor: changed.minor.as_ref().unwrap_or(&found.minor_status),
        source: &rows::cut(source, 64),
        now: time,
    };
    let application = changed.application.as_ref().unwrap_or(&found.application_status);
    moves::log(c, found, &entry, application).await
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

/// Jobs of a VO that are run elsewhere and have not been heard of since a time.
const UNHEARD: &str = "SELECT job_id FROM jobs WHERE vo = $1
        AND status IN ('Matched', 'Running', 'Stalled', 'Completing', 'Completed')
        AND coalesce(heartbeat, 0) < $2 AND updated < $2
        AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.job_id
            AND attempts.attempt = jobs.attempt AND state <> 'killing')";

async fn fail_unheard(
    c: &mut AnyConnection,
    vo: &VoName,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Who is heard of at this moment is left alone.
    let skip = Dialect::of(c).skip_locked();
    let unheard = sqlx::query(statement(format!("{UNHEARD} ORDER BY job_id LIMIT 500{skip}")));
    for row in unheard.bind(vo.as_str()).bind(before.0).fetch_all(&mut *c).await? {
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
    Ok(())
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
    ) -> Result<(), StoreError> {
        // Mostly there are none: whoever writes is not held up to find that out.
        let any = sqlx::query(statement(format!("{UNHEARD} LIMIT 1")));
        let any = any.bind(vo.as_str()).bind(before.0).fetch_optional(&self.readers).await?;
        if any.is_none() {
            return Ok(());
        }
        let vo = vo.clone();
        self.write(move |c| Box::pin(async move { fail_unheard(c, &vo, before, now).await })).await
    }

    async fn set_parameters(
        &self,
        parameters: &[(JobId, String, serde_json::Value)],
    ) -> Result<(), StoreError> {
        if parameters.is_empty() {
            return Ok(());
        }
        let parameters = parameters.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for (id, name, value) in parameters {
                    sqlx::query(
                        "INSERT INTO job_parameters VALUES ($1, $2, $3)
                         ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value",
                    )
                    .bind(id.0)
                    .bind(rows::cut(&name, 128))
                    .bind(value.to_string())
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
        if sites.is_empty() {
            return Ok(());
        }
        let sites = sites.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for (id, site) in sites {
                    sqlx::query("UPDATE jobs SET site = $1, updated = $2 WHERE job_id = $3")
                        .bind(rows::cut(&site, 100))
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
