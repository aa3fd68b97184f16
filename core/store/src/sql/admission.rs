//! Submissions: a template and its jobs, stored whole or not at all.

use super::{
    dialect::{Dialect, alone, statement},
    moves::intern_class,
    rows::{self, to_json},
};
use crate::{NewJob, NewTemplate, QueueChange, QueueKey, StoreError, Submission};
use spinor_model::{
    id::{ClassId, Digest, JobId, VoName},
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};

/// Takes templates of one VO on: all of them or none.
pub async fn submit(
    c: &mut AnyConnection,
    templates: Vec<NewTemplate>,
    max_waiting: Option<u64>,
    now: Timestamp,
) -> Result<Submission, StoreError> {
    let mut jobs = Vec::with_capacity(templates.len());
    for new in &templates {
        jobs.push(repeated(c, new).await?);
    }
    let new =
        || templates.iter().zip(&jobs).filter(|(_, there)| there.is_none()).map(|(new, _)| new);
    let Some(first) = new().next() else {
        let jobs = jobs.into_iter().flatten().collect();
        return Ok(Submission::Stored { jobs, changes: Vec::new() });
    };
    if let Some(max_waiting) = max_waiting {
        alone(c, &format!("waiting {}", first.vo)).await?;
        let waiting = waiting(c, &first.vo).await?;
        if waiting + new().map(|new| new.jobs.len() as u64).sum::<u64>() > max_waiting {
            return Ok(Submission::OverQuota { waiting });
        }
    }
    for new in new() {
        if let Some(missing) = missing_sandbox(c, new).await? {
            return Ok(Submission::NoSandbox(missing));
        }
    }
    let mut changes = Vec::new();
    for (new, there) in templates.iter().zip(&mut jobs).filter(|(_, there)| there.is_none()) {
        let (stored, change) = store(c, new, now).await?;
        *there = Some(stored);
        changes.push(change);
    }
    Ok(Submission::Stored { jobs: jobs.into_iter().flatten().collect(), changes })
}

async fn store(
    c: &mut AnyConnection,
    new: &NewTemplate,
    now: Timestamp,
) -> Result<(Vec<JobId>, QueueChange), StoreError> {
    let class = intern_class(c, &new.vo, &new.group, &new.job_type, &new.requirement).await?;
    let template = insert_template(c, new, now).await?;
    let jobs = insert_jobs(c, new, template, class, now).await?;
    sqlx::query("UPDATE templates SET first_job = $1 WHERE template_id = $2")
        .bind(jobs.first().map_or(0, |job| job.0))
        .bind(template)
        .execute(&mut *c)
        .await?;
    for (status, minor) in [("Received", "Job accepted"), ("Waiting", "Pilot Agent Submission")] {
        sqlx::query(
            "INSERT INTO events (job_id, attempt, time, status, minor_status, source)
             SELECT job_id, 0, $1, $2, $3, 'JobManager' FROM jobs WHERE template_id = $4",
        )
        .bind(now.0)
        .bind(status)
        .bind(minor)
        .bind(template)
        .execute(&mut *c)
        .await?;
    }
    let delta = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    let queue = QueueKey { class, owner: new.owner.clone() };
    Ok((jobs, QueueChange { queue, delta }))
}

async fn repeated(
    c: &mut AnyConnection,
    new: &NewTemplate,
) -> Result<Option<Vec<JobId>>, StoreError> {
    let Some(key) = &new.key else { return Ok(None) };
    // Two requests with one key, at the same time on two servers, are one submission as well.
    // Requests number their descriptions behind a slash: one lock for all of them.
    let request = key.rsplit_once('/').map_or(key.as_str(), |(request, _)| request);
    alone(c, &format!("submission {} {} {request}", new.vo, new.owner)).await?;
    let found = sqlx::query(
        "SELECT job_id FROM jobs WHERE template_id IN (SELECT template_id FROM templates
            WHERE vo = $1 AND owner = $2 AND submission_key = $3) ORDER BY row_number",
    )
    .bind(new.vo.as_str())
    .bind(new.owner.as_str())
    .bind(key)
    .fetch_all(c)
    .await?;
    let jobs: Result<Vec<_>, sqlx::Error> =
        found.iter().map(|row| Ok(JobId(row.try_get("job_id")?))).collect();
    Ok(Some(jobs?).filter(|jobs| !jobs.is_empty()))
}

async fn waiting(c: &mut AnyConnection, vo: &VoName) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT count(*) AS n FROM jobs WHERE vo = $1 AND status = 'Waiting'")
        .bind(vo.as_str())
        .fetch_one(c)
        .await?;
    super::rows::count(&row, "n")
}

async fn missing_sandbox(
    c: &mut AnyConnection,
    new: &NewTemplate,
) -> Result<Option<Digest>, StoreError> {
    for digest in &new.sandboxes {
        let row =
            sqlx::query("SELECT 1 FROM sandboxes WHERE vo = $1 AND digest = $2 AND owner = $3")
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
    c: &mut AnyConnection,
    new: &NewTemplate,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "INSERT INTO templates (vo, grp, owner, job_type, submission_key, template, plan,
            requirement, planned_by, jobs, first_job, submitted, source, input_data)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13) RETURNING template_id",
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
    .bind(rows::plain(&new.source))
    .bind(to_json(&new.input_data)?)
    .fetch_one(&mut *c)
    .await?;
    let template = row.try_get("template_id")?;
    for digest in &new.sandboxes {
        sqlx::query("INSERT INTO template_sandboxes VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(template)
            .bind(digest.to_string())
            .execute(&mut *c)
            .await?;
    }
    Ok(template)
}

/// What DIRAC shows for the site of a job that has not run.
fn asked_site(new: &NewTemplate) -> String {
    let sites = &new.requirement.sites;
    match (sites.len(), sites.first()) {
        (1, Some(site)) => site.to_string(),
        (0, _) => "ANY".to_owned(),
        _ => "Multiple".to_owned(),
    }
}

/// All jobs in one statement; their numbers follow each other.
async fn insert_jobs(
    c: &mut AnyConnection,
    new: &NewTemplate,
    template: i64,
    class: ClassId,
    now: Timestamp,
) -> Result<Vec<JobId>, StoreError> {
    let text = format!(
        "INSERT INTO jobs (template_id, row_number, parameters, class_id, vo, grp, owner, job_type,
            name, priority, status, minor_status, submitted, updated, job_group, site)
         SELECT $1, CAST(value ->> 'row' AS BIGINT), value ->> 'parameters', $2, $3, $4, $5, $6,
            value ->> 'name', $7, 'Waiting', 'Pilot Agent Submission', $8, $8, $10, $11
         FROM {} ORDER BY 2 RETURNING job_id, row_number",
        Dialect::of(c).items("$9")
    );
    let numbered = |(row, job): (usize, &NewJob)| serde_json::json!({"row": row, "name": job.name, "parameters": job.parameters});
    let inserted = sqlx::query(statement(text))
        .bind(template)
        .bind(class.0)
        .bind(new.vo.as_str())
        .bind(new.group.as_str())
        .bind(new.owner.as_str())
        .bind(new.job_type.as_str())
        .bind(i64::from(new.priority))
        .bind(now.0)
        .bind(to_json(&new.jobs.iter().enumerate().map(numbered).collect::<Vec<_>>())?)
        .bind(rows::plain(&new.job_group))
        .bind(asked_site(new))
        .fetch_all(c)
        .await?;
    let mut jobs: Vec<(i64, JobId)> = Vec::with_capacity(inserted.len());
    for row in &inserted {
        jobs.push((row.try_get("row_number")?, JobId(row.try_get("job_id")?)));
    }
    jobs.sort();
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}
