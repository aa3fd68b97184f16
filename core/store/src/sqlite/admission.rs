//! Submissions: a template and its jobs, stored whole or not at all.

use super::{moves::intern_class, rows::to_json};
use crate::{NewTemplate, QueueChange, QueueKey, StoreError, Submission};
use spinor_model::{
    id::{ClassId, Digest, JobId, VoName},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection};

/// Takes a submission on.
pub async fn submit(
    c: &mut SqliteConnection,
    new: NewTemplate,
    max_waiting: u64,
    now: Timestamp,
) -> Result<Submission, StoreError> {
    if let Some(jobs) = repeated(c, &new).await? {
        return Ok(Submission::Repeated { jobs });
    }
    let waiting = waiting(c, &new.vo).await?;
    if waiting + new.jobs.len() as u64 > max_waiting {
        return Ok(Submission::OverQuota { waiting });
    }
    if let Some(missing) = missing_sandbox(c, &new).await? {
        return Ok(Submission::NoSandbox(missing));
    }
    let class = intern_class(c, &new.vo, &new.group, &new.job_type, &new.requirement).await?;
    let template = insert_template(c, &new, now).await?;
    let jobs = insert_jobs(c, &new, template, class, now).await?;
    sqlx::query("UPDATE templates SET first_job = ? WHERE template_id = ?")
        .bind(jobs.first().map_or(0, |job| job.0))
        .bind(template)
        .execute(&mut *c)
        .await?;
    for (status, minor) in [("Received", "Job accepted"), ("Waiting", "Pilot Agent Submission")] {
        sqlx::query(
            "INSERT INTO events (job_id, attempt, time, status, minor_status, source)
             SELECT job_id, 0, ?, ?, ?, 'JobManager' FROM jobs WHERE template_id = ?",
        )
        .bind(now.0)
        .bind(status)
        .bind(minor)
        .bind(template)
        .execute(&mut *c)
        .await?;
    }
    let delta = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    let queue = QueueKey { class, owner: new.owner };
    Ok(Submission::Stored { jobs, changes: vec![QueueChange { queue, delta }] })
}

async fn repeated(
    c: &mut SqliteConnection,
    new: &NewTemplate,
) -> Result<Option<Vec<JobId>>, StoreError> {
    let Some(key) = &new.key else { return Ok(None) };
    let row = sqlx::query(
        "SELECT first_job, jobs FROM templates WHERE vo = ? AND owner = ? AND submission_key = ?",
    )
    .bind(new.vo.as_str())
    .bind(new.owner.as_str())
    .bind(key)
    .fetch_optional(c)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (first, count): (i64, i64) = (row.try_get("first_job")?, row.try_get("jobs")?);
    Ok(Some((first..first + count).map(JobId).collect()))
}

async fn waiting(c: &mut SqliteConnection, vo: &VoName) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT count(*) AS n FROM jobs WHERE vo = ? AND status = 'Waiting'")
        .bind(vo.as_str())
        .fetch_one(c)
        .await?;
    super::rows::count(&row, "n")
}

async fn missing_sandbox(
    c: &mut SqliteConnection,
    new: &NewTemplate,
) -> Result<Option<Digest>, StoreError> {
    for digest in &new.sandboxes {
        let row = sqlx::query("SELECT 1 FROM sandboxes WHERE vo = ? AND digest = ? AND owner = ?")
            .bind(new.vo.as_str())
            .bind(digest.to_string())
            .bind(new.owner.as_str())
            .fetch_optional(&mut *c)
            .await?;
        if row.is_none() {
            return Ok(Some(*digest));
        }
    }
    Ok(None)
}

async fn insert_template(
    c: &mut SqliteConnection,
    new: &NewTemplate,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "INSERT INTO templates (vo, grp, owner, job_type, submission_key, template, plan,
            requirement, planned_by, jobs, first_job, submitted)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?) RETURNING template_id",
    )
    .bind(new.vo.as_str())
    .bind(new.group.as_str())
    .bind(new.owner.as_str())
    .bind(new.job_type.as_str())
    .bind(&new.key)
    .bind(&new.template)
    .bind(to_json(&new.plan)?)
    .bind(to_json(&new.requirement)?)
    .bind(to_json(&new.planned_by)?)
    .bind(new.jobs.len() as i64)
    .bind(now.0)
    .fetch_one(&mut *c)
    .await?;
    let template = row.try_get("template_id")?;
    for digest in &new.sandboxes {
        sqlx::query("INSERT INTO template_sandboxes VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(template)
            .bind(digest.to_string())
            .execute(&mut *c)
            .await?;
    }
    Ok(template)
}

/// All jobs in one statement; their numbers follow each other.
async fn insert_jobs(
    c: &mut SqliteConnection,
    new: &NewTemplate,
    template: i64,
    class: ClassId,
    now: Timestamp,
) -> Result<Vec<JobId>, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO jobs (template_id, row_number, parameters, class_id, vo, grp, owner, job_type,
            name, priority, status, minor_status, submitted, updated)
         SELECT ?, key, json_extract(value, '$.parameters'), ?, ?, ?, ?, ?,
            json_extract(value, '$.name'), ?, 'Waiting', 'Pilot Agent Submission', ?, ?
         FROM json_each(?) ORDER BY key RETURNING job_id",
    )
    .bind(template)
    .bind(class.0)
    .bind(new.vo.as_str())
    .bind(new.group.as_str())
    .bind(new.owner.as_str())
    .bind(new.job_type.as_str())
    .bind(new.priority)
    .bind(now.0)
    .bind(now.0)
    .bind(to_json(&new.jobs)?)
    .fetch_all(c)
    .await?;
    let mut jobs = Vec::with_capacity(inserted.len());
    for row in &inserted {
        jobs.push(JobId(row.try_get("job_id")?));
    }
    jobs.sort();
    Ok(jobs)
}
