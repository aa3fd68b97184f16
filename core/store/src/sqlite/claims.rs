//! Claims: waiting jobs become a pilot's, with lease, attempt and limit in one transaction.

use super::rows::{self, to_json};
use crate::{ClaimRequest, Claimed, StoreError};
use spinor_model::{
    id::{AttemptNumber, Digest, JobId, Stamp, TemplateId},
    plan::Plan,
    requirement::Requirement,
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use std::collections::{BTreeMap, btree_map::Entry};

/// Claims at most `limit` jobs of one queue.
pub async fn claim(
    c: &mut SqliteConnection,
    request: ClaimRequest,
) -> Result<Vec<Claimed>, StoreError> {
    let limit = allowed(c, &request).await?;
    if limit == 0 {
        return Ok(Vec::new());
    }
    let taken = take(c, &request, limit).await?;
    let given = taken.iter().zip(&request.nonces);
    let given = given.map(|(row, nonce)| (row, nonce.clone(), request.cores)).collect();
    let claimed = describe(c, given).await?;
    if !claimed.is_empty() {
        insert_attempts(c, &request, &claimed).await?;
    }
    Ok(claimed)
}

/// Jobs that a pilot holds and does not know of.
pub async fn unheard_of(
    c: &mut SqliteConnection,
    stamp: &Stamp,
    holds: &[(JobId, AttemptNumber)],
) -> Result<Vec<Claimed>, StoreError> {
    let held = sqlx::query(
        "SELECT job_id, attempt, attempts.nonce, attempts.cores, template_id, row_number, parameters,
            owner, grp
         FROM attempts JOIN jobs USING (job_id, attempt) WHERE stamp = ? AND state = 'active'",
    )
    .bind(stamp.as_str())
    .fetch_all(&mut *c)
    .await?;
    let mut given = Vec::new();
    for row in &held {
        let attempt = AttemptNumber(rows::count(row, "attempt")?);
        if !holds.contains(&(JobId(row.try_get("job_id")?), attempt)) {
            given.push((row, row.try_get("nonce")?, rows::count(row, "cores")?));
        }
    }
    describe(c, given).await
}

/// Claimed rows of `jobs` with all that a pilot must know, in order.
async fn describe(
    c: &mut SqliteConnection,
    given: Vec<(&SqliteRow, String, u32)>,
) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed = Vec::with_capacity(given.len());
    let mut templates = BTreeMap::new();
    for (row, nonce, cores) in given {
        let template = TemplateId(row.try_get("template_id")?);
        if let Entry::Vacant(vacant) = templates.entry(template) {
            vacant.insert(load_template(c, template).await?);
        }
        if let Some((plan, requirement, sandboxes)) = templates.get(&template) {
            claimed.push(Claimed {
                id: JobId(row.try_get("job_id")?),
                attempt: AttemptNumber(rows::count(row, "attempt")?),
                nonce,
                owner: rows::parsed(row, "owner")?,
                group: rows::parsed(row, "grp")?,
                row: rows::count(row, "row_number")?,
                parameters: rows::json(row, "parameters")?,
                plan: plan.clone(),
                requirement: requirement.clone(),
                sandboxes: sandboxes.clone(),
                cores,
            });
        }
    }
    claimed.sort_by_key(|job| job.id);
    Ok(claimed)
}

async fn allowed(c: &mut SqliteConnection, request: &ClaimRequest) -> Result<u32, StoreError> {
    let limit = request.limit.min(u32::try_from(request.nonces.len()).unwrap_or(u32::MAX));
    let Some(max_running) = request.max_running else { return Ok(limit) };
    let row = sqlx::query(
        "SELECT count(*) AS n FROM jobs
         WHERE vo = ? AND status IN ('Matched', 'Running', 'Stalled', 'Completing')",
    )
    .bind(request.vo.as_str())
    .fetch_one(c)
    .await?;
    let running: u64 = rows::count(&row, "n")?;
    Ok(limit.min(u32::try_from(max_running.saturating_sub(running)).unwrap_or(u32::MAX)))
}

async fn take(
    c: &mut SqliteConnection,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<SqliteRow>, StoreError> {
    let taken = sqlx::query(
        "UPDATE jobs SET status = 'Matched', minor_status = 'Assigned', attempt = attempt + 1,
            site = ?, updated = ?, started = NULL
         WHERE job_id IN (
            SELECT job_id FROM jobs WHERE class_id = ? AND owner = ? AND status = 'Waiting'
            ORDER BY priority DESC, job_id LIMIT ?)
         RETURNING job_id, attempt, template_id, row_number, parameters, owner, grp",
    )
    .bind(request.site.as_str())
    .bind(request.now.0)
    .bind(request.queue.class.0)
    .bind(request.queue.owner.as_str())
    .bind(limit)
    .fetch_all(c)
    .await?;
    Ok(taken)
}

async fn load_template(
    c: &mut SqliteConnection,
    template: TemplateId,
) -> Result<(Plan, Requirement, Vec<Digest>), StoreError> {
    let row = sqlx::query("SELECT plan, requirement FROM templates WHERE template_id = ?")
        .bind(template.0)
        .fetch_one(&mut *c)
        .await?;
    let sandboxes = sqlx::query("SELECT digest FROM template_sandboxes WHERE template_id = ?")
        .bind(template.0)
        .fetch_all(c)
        .await?;
    let digests = sandboxes.iter().map(|row| rows::parsed(row, "digest"));
    Ok((
        rows::json(&row, "plan")?,
        rows::json(&row, "requirement")?,
        digests.collect::<Result<_, _>>()?,
    ))
}

async fn insert_attempts(
    c: &mut SqliteConnection,
    request: &ClaimRequest,
    claimed: &[Claimed],
) -> Result<(), StoreError> {
    let decider = to_json(&request.decider)?;
    let mut attempts = QueryBuilder::<Sqlite>::new(
        "INSERT INTO attempts (job_id, attempt, state, nonce, stamp, site, ce, cores, decider,
            score, lease_until, claimed) ",
    );
    attempts.push_values(claimed, |mut row, job| {
        row.push_bind(job.id.0)
            .push_bind(job.attempt.0)
            .push_bind("active")
            .push_bind(&job.nonce)
            .push_bind(request.stamp.as_str())
            .push_bind(request.site.as_str())
            .push_bind(request.ce.as_str())
            .push_bind(request.cores)
            .push_bind(&decider)
            .push_bind(request.score)
            .push_bind(request.lease_until.0)
            .push_bind(request.now.0);
    });
    attempts.build().execute(&mut *c).await?;
    let mut events = QueryBuilder::<Sqlite>::new(
        "INSERT INTO events (job_id, attempt, time, status, minor_status, source) ",
    );
    events.push_values(claimed, |mut row, job| {
        row.push_bind(job.id.0)
            .push_bind(job.attempt.0)
            .push_bind(request.now.0)
            .push_bind("Matched")
            .push_bind("Assigned")
            .push_bind("Matcher");
    });
    events.build().execute(c).await?;
    Ok(())
}
