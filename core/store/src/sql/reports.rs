//! What is reported of jobs and pilots by those who run them elsewhere.

use super::{
    SqlStore,
    dialect::{Dialect, statement},
    gather::Together,
    moves::{self, MINOR, Move, moved, release_attempt, write},
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
    let Some((found, held, newest)) = known(c, report.job).await? else {
        return Ok(ReportAnswer::NotFound);
    };
    // Clocks of workers are not trusted to be ahead.
    let time = Timestamp(report.time.0.min(now.0));
    let status = match step(&found, held, report) {
        Err(why) => return Ok(ReportAnswer::Refused(why)),
        Ok(status) => status,
    };
    let minor = report.minor.as_ref().map(|text| rows::cut(text, MINOR));
    let application = report.application.as_ref().map(|text| rows::cut(text, 255));
    let order = matches!(status, Some(JobState::Killed | JobState::Deleted));
    if !order && !report.force && time < newest {
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

/// A job, whether a pilot of ours has it, and the time of the newest entry of its log.
async fn known(
    c: &mut AnyConnection,
    id: JobId,
) -> Result<Option<(JobRecord, bool, Timestamp)>, StoreError> {
    let text = format!(
        "SELECT jobs.*,
            (SELECT count(*) FROM attempts WHERE attempts.job_id = jobs.job_id
                AND attempts.attempt = jobs.attempt AND state = 'active') AS held,
            (SELECT coalesce(max(time), 0) FROM events WHERE events.job_id = jobs.job_id) AS newest
         FROM jobs WHERE job_id = $1{}",
        Dialect::of(c).for_update()
    );
    let Some(row) = sqlx::query(statement(text)).bind(id.0).fetch_optional(c).await? else {
        return Ok(None);
    };
    let held = row.try_get::<i64, _>("held")? > 0;
    Ok(Some((rows::job(&row)?, held, rows::time(&row, "newest")?)))
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

/// Jobs that are alive, and what they say of themselves.
#[derive(Clone)]
pub struct Alive {
    jobs: Vec<JobId>,
    parameters: Vec<(JobId, String, serde_json::Value)>,
    now: Timestamp,
}

impl Together for Alive {
    type Answer = Vec<(JobId, String)>;
    type Group = ();

    fn group(&self) {}

    async fn alone(self, store: &SqlStore) -> Result<Self::Answer, StoreError> {
        store
            .write(move |c| {
                Box::pin(async move {
                    let told = alive(c, &self.jobs, self.now).await?;
                    put_parameters(c, self.parameters).await?;
                    Ok(told)
                })
            })
            .await
    }

    async fn together(
        store: &SqlStore,
        beats: Vec<Self>,
    ) -> Result<Option<Vec<Self::Answer>>, StoreError> {
        let all = Self {
            jobs: beats.iter().flat_map(|beat| beat.jobs.iter().copied()).collect(),
            parameters: beats.iter().flat_map(|beat| beat.parameters.iter().cloned()).collect(),
            now: beats.iter().map(|beat| beat.now).max().unwrap_or(Timestamp(0)),
        };
        let mut told = all.alone(store).await?;
        let own = |beat: &Self| told.extract_if(.., |(job, _)| beat.jobs.contains(job)).collect();
        Ok(Some(beats.iter().map(own).collect()))
    }
}

/// Jobs are alive; what they are told.
async fn alive(
    c: &mut AnyConnection,
    jobs: &[JobId],
    now: Timestamp,
) -> Result<Vec<(JobId, String)>, StoreError> {
    let (ids, those) = (rows::to_json(&jobs)?, Dialect::of(c).numbers("$1"));
    let beaten = sqlx::query(statement(format!(
        "UPDATE jobs SET heartbeat = $2 WHERE job_id IN {those} RETURNING job_id, status"
    )));
    for row in beaten.bind(&ids).bind(now.0).fetch_all(&mut *c).await? {
        let state: JobState = rows::parsed(&row, "status")?;
        if matches!(state, JobState::Matched | JobState::Stalled) {
            let runs = StatusReport {
                job: JobId(row.try_get("job_id")?),
                time: now,
                status: Some(JobState::Running),
                minor: None,
                application: None,
                source: "Heartbeat".to_owned(),
                force: false,
            };
            report(c, &runs, "Heartbeat", now, &mut Vec::new()).await?;
        }
    }
    let told = sqlx::query(statement(format!(
        "DELETE FROM job_commands WHERE job_id IN {those} RETURNING job_id, command"
    )));
    let told = told.bind(&ids).fetch_all(c).await?;
    told.iter().map(|row| Ok((JobId(row.try_get("job_id")?), row.try_get("command")?))).collect()
}

async fn put_parameters(
    c: &mut AnyConnection,
    parameters: Vec<(JobId, String, serde_json::Value)>,
) -> Result<(), StoreError> {
    // Of names that are the same once they are cut, the last counts.
    let cut = parameters.into_iter().map(|(id, name, v)| ((id, rows::cut(&name, 128)), v));
    let items: BTreeMap<(JobId, String), serde_json::Value> = cut.collect();
    if items.is_empty() {
        return Ok(());
    }
    let item = |((id, name), value): (&(JobId, String), &serde_json::Value)| serde_json::json!({"job": id, "name": name, "value": value.to_string()});
    let text = format!(
        "INSERT INTO job_parameters
         SELECT CAST(value ->> 'job' AS BIGINT), value ->> 'name', value ->> 'value' FROM {} WHERE true
         ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value",
        Dialect::of(c).items("$1")
    );
    let items = rows::to_json(&items.iter().map(item).collect::<Vec<_>>())?;
    sqlx::query(statement(text)).bind(items).execute(c).await?;
    Ok(())
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
        parameters: &[(JobId, String, serde_json::Value)],
        now: Timestamp,
    ) -> Result<Vec<(JobId, String)>, StoreError> {
        let alive = Alive { jobs: jobs.to_vec(), parameters: parameters.to_vec(), now };
        self.beats.run(self, alive).await
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
        self.write(move |c| Box::pin(put_parameters(c, parameters))).await
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
