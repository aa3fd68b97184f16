//! What is reported of jobs and pilots by those who run them elsewhere.

use super::{
    SqlStore,
    dialect::{Dialect, statement},
    gather::{Done, Together},
    moves, rows,
    statuses::{self, Told},
};
use crate::{Beaten, JobRecord, ReportStore, Reported, Speaker, StatusReport, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{JobId, VoName},
    plan::Parameters,
    state::JobState,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Jobs that are alive, and what they say of themselves.
#[derive(Clone)]
pub struct Alive {
    speaker: Speaker,
    jobs: Vec<JobId>,
    parameters: Vec<(JobId, String, serde_json::Value)>,
    now: Timestamp,
}

impl Together for Alive {
    type Answer = Beaten;
    type Group = ();

    fn group(&self) {}

    async fn together(c: &mut AnyConnection, all: &[Self]) -> Result<Done<Beaten>, StoreError> {
        Ok(Ok(beats(c, all).await?))
    }
}

/// Takes heartbeats on, each with all of its jobs or not at all.
async fn beats(c: &mut AnyConnection, all: &[Alive]) -> Result<Vec<Beaten>, StoreError> {
    let ids: BTreeSet<JobId> = all.iter().flat_map(|beat| beat.jobs.iter().copied()).collect();
    let text = format!(
        "SELECT * FROM jobs WHERE job_id IN {} ORDER BY job_id{}",
        Dialect::of(c).numbers("$1"),
        Dialect::of(c).for_update()
    );
    let found = sqlx::query(statement(text)).bind(rows::to_json(&ids)?).fetch_all(&mut *c).await?;
    let mut known: BTreeMap<JobId, JobRecord> = BTreeMap::new();
    for row in &found {
        let job = rows::job(row)?;
        known.insert(job.id, job);
    }
    let mut answers: Vec<Beaten> = all.iter().map(|beat| beat.answer(&known)).collect();
    let taken = |(beat, answer): (&'_ Alive, &Beaten)| {
        matches!(answer, Beaten::Told(_)).then(|| beat.clone())
    };
    let beats: Vec<Alive> = all.iter().zip(&answers).filter_map(taken).collect();
    let now = all.iter().map(|beat| beat.now).max().unwrap_or_default();
    let jobs: BTreeSet<JobId> = beats.iter().flat_map(|beat| beat.jobs.iter().copied()).collect();
    let mut told = alive(c, jobs.iter().filter_map(|id| known.get(id)), now).await?;
    put_parameters(c, beats.into_iter().flat_map(|beat| beat.parameters).collect()).await?;
    for (beat, answer) in all.iter().zip(&mut answers) {
        if let Beaten::Told(own) = answer {
            own.extend(told.extract_if(.., |(job, _)| beat.jobs.contains(job)));
        }
    }
    Ok(answers)
}

impl Alive {
    /// Whether they may speak for their jobs, and those are there.
    fn answer(&self, known: &BTreeMap<JobId, JobRecord>) -> Beaten {
        if let Some(id) = self.jobs.iter().find(|id| !self.speaker.may(**id, known.get(id))) {
            return Beaten::NotYours(*id);
        }
        let seen = |id: &JobId| known.get(id).is_some_and(|job| self.speaker.sees(job));
        match self.jobs.iter().find(|id| !seen(id)) {
            Some(id) => Beaten::NotFound(*id),
            None => Beaten::Told(Vec::new()),
        }
    }
}

/// Jobs are alive; what they are told.
async fn alive(
    c: &mut AnyConnection,
    jobs: impl Iterator<Item = &JobRecord>,
    now: Timestamp,
) -> Result<Vec<(JobId, String)>, StoreError> {
    let (mut ids, mut reports) = (Vec::new(), Vec::new());
    for job in jobs {
        ids.push(job.id);
        if matches!(job.status, JobState::Matched | JobState::Stalled) {
            reports.push(StatusReport {
                job: job.id,
                time: now,
                status: Some(JobState::Running),
                minor: None,
                application: None,
                source: "Heartbeat".to_owned(),
                force: false,
            });
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    moves::heard_of(c, &ids, now).await?;
    let (ids, those) = (rows::to_json(&ids)?, Dialect::of(c).numbers("$1"));
    by_server(c, reports, "Heartbeat", now).await?;
    let told = sqlx::query(statement(format!(
        "DELETE FROM job_commands WHERE job_id IN {those} RETURNING job_id, command"
    )));
    let told = told.bind(&ids).fetch_all(c).await?;
    told.iter().map(|row| Ok((JobId(row.try_get("job_id")?), row.try_get("command")?))).collect()
}

/// What this server says of jobs.
async fn by_server(
    c: &mut AnyConnection,
    reports: Vec<StatusReport>,
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let jobs = reports.iter().map(|report| report.job).collect();
    let (speaker, reports, by) = (Speaker::All, Arc::new(reports), by.to_owned());
    let told = Told { speaker, jobs, reports, by, now };
    statuses::hear(c, &[told]).await?;
    Ok(())
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
    let mut reports = Vec::new();
    for row in unheard.bind(vo.as_str()).bind(before.0).fetch_all(&mut *c).await? {
        reports.push(StatusReport {
            job: JobId(row.try_get("job_id")?),
            time: now,
            status: Some(JobState::Failed),
            minor: Some("Job stalled: pilot not running".to_owned()),
            application: None,
            source: "Watchdog".to_owned(),
            force: true,
        });
    }
    by_server(c, reports, "Watchdog", now).await
}

fn source(row: &AnyRow, job: JobId) -> Result<(String, Vec<String>), StoreError> {
    let values = rows::json(row, "parameters")?;
    let parameters = Parameters { values: &values, row: rows::count(row, "row_number")?, job };
    let files: Vec<String> = rows::json(row, "input_data")?;
    // Earlier servers kept names as they were, and put nothing in; names hold no bare %n or %j since.
    let as_it_was = |file: &str| {
        let bare = file.replace("%%", "");
        bare.contains("%n") || bare.contains("%j")
    };
    let filled = |file: String| match as_it_was(&file) {
        true => file,
        false => parameters.fill(&file).unwrap_or(file),
    };
    Ok((row.try_get("source")?, files.into_iter().map(filled).collect()))
}

#[async_trait]
impl ReportStore for SqlStore {
    async fn report(
        &self,
        speaker: Speaker,
        jobs: Vec<JobId>,
        reports: Vec<StatusReport>,
        by: String,
        now: Timestamp,
    ) -> Result<Reported, StoreError> {
        let reports = Arc::new(reports);
        self.told.run(self, Told { speaker, jobs, reports, by, now }).await
    }

    async fn alive(
        &self,
        speaker: Speaker,
        jobs: Vec<JobId>,
        parameters: Vec<(JobId, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<Beaten, StoreError> {
        self.beats.run(self, Alive { speaker, jobs, parameters, now }).await
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
            "SELECT source, input_data, row_number, parameters
             FROM templates JOIN jobs USING (template_id) WHERE jobs.job_id = $1",
        );
        let found = found.bind(job.0).fetch_optional(&self.readers).await?;
        found.map(|row| source(&row, job)).transpose()
    }
}
