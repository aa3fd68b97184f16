//! Claims: waiting jobs become a pilot's, with lease, attempt and limit in one transaction.

use super::{
    dialect::{Dialect, alone, statement},
    rows::{self, to_json},
};
use crate::{ClaimRequest, Claimed, StoreError};
use spinor_model::{
    id::{AttemptNumber, Digest, JobId, Stamp, TemplateId},
    plan::Plan,
    requirement::Requirement,
    state::PilotState,
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::collections::{BTreeMap, btree_map::Entry};

/// Claims at most `limit` jobs of one queue.
pub async fn claim(
    c: &mut AnyConnection,
    request: ClaimRequest,
) -> Result<Vec<Claimed>, StoreError> {
    // Two servers may be asked by one pilot at a time, if the first did not answer it soon enough.
    alone(c, &format!("pilot {}", request.stamp)).await?;
    if !unheard_of(c, &request.stamp, &request.holds).await?.is_empty()
        || is_over(c, &request.stamp).await?
    {
        return Ok(Vec::new());
    }
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

/// Whether a pilot's life is over: its token may not be.
async fn is_over(c: &mut AnyConnection, stamp: &Stamp) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT status FROM pilots WHERE stamp = $1").bind(stamp.as_str());
    let Some(row) = found.fetch_optional(c).await? else { return Ok(false) };
    Ok(rows::parsed::<PilotState>(&row, "status")?.is_final())
}

/// Jobs that a pilot holds and does not know of.
pub async fn unheard_of(
    c: &mut AnyConnection,
    stamp: &Stamp,
    holds: &[(JobId, AttemptNumber)],
) -> Result<Vec<Claimed>, StoreError> {
    let held = sqlx::query(
        "SELECT job_id, attempt, attempts.nonce, attempts.cores, template_id, row_number, parameters,
            owner, grp
         FROM attempts JOIN jobs USING (job_id, attempt) WHERE stamp = $1 AND state = 'active'",
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
    c: &mut AnyConnection,
    given: Vec<(&AnyRow, String, u32)>,
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

async fn allowed(c: &mut AnyConnection, request: &ClaimRequest) -> Result<u32, StoreError> {
    let limit = request.limit.min(u32::try_from(request.nonces.len()).unwrap_or(u32::MAX));
    let Some(max_running) = request.max_running else { return Ok(limit) };
    // Whoever counts is alone with the count until its claim is through: no limit is overshot.
    alone(c, &format!("running {}", request.vo)).await?;
    let row = sqlx::query(
        "SELECT count(*) AS n FROM jobs
         WHERE vo = $1 AND status IN ('Matched', 'Running', 'Stalled', 'Completing')",
    )
    .bind(request.vo.as_str())
    .fetch_one(c)
    .await?;
    let running: u64 = rows::count(&row, "n")?;
    Ok(limit.min(u32::try_from(max_running.saturating_sub(running)).unwrap_or(u32::MAX)))
}

async fn take(
    c: &mut AnyConnection,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<AnyRow>, StoreError> {
    let text = format!(
        "WITH picked AS MATERIALIZED (
            SELECT job_id FROM jobs WHERE class_id = $3 AND owner = $4 AND status = 'Waiting'
            ORDER BY priority DESC, job_id LIMIT CAST($5 AS BIGINT){})
         UPDATE jobs SET status = 'Matched', minor_status = 'Assigned', attempt = attempt + 1,
            site = $1, updated = $2, started = NULL
         WHERE job_id IN (SELECT job_id FROM picked)
         RETURNING job_id, attempt, template_id, row_number, parameters, owner, grp",
        Dialect::of(c).skip_locked()
    );
    let taken = sqlx::query(statement(text))
        .bind(request.site.as_str())
        .bind(request.now.0)
        .bind(request.queue.class.0)
        .bind(request.queue.owner.as_str())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await?;
    Ok(taken)
}

async fn load_template(
    c: &mut AnyConnection,
    template: TemplateId,
) -> Result<(Plan, Requirement, Vec<Digest>), StoreError> {
    let row = sqlx::query("SELECT plan, requirement FROM templates WHERE template_id = $1")
        .bind(template.0)
        .fetch_one(&mut *c)
        .await?;
    let sandboxes = sqlx::query("SELECT digest FROM template_sandboxes WHERE template_id = $1")
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
    c: &mut AnyConnection,
    request: &ClaimRequest,
    claimed: &[Claimed],
) -> Result<(), StoreError> {
    let given = |job: &Claimed| serde_json::json!({"job": job.id.0, "attempt": job.attempt.0, "nonce": job.nonce});
    let given = to_json(&claimed.iter().map(given).collect::<Vec<_>>())?;
    let items = Dialect::of(c).items("$1");
    let (job, attempt) = ("CAST(value ->> 'job' AS BIGINT)", "CAST(value ->> 'attempt' AS BIGINT)");
    let text = format!(
        "INSERT INTO attempts (job_id, attempt, state, nonce, stamp, site, ce, cores, decider,
            score, lease_until, claimed)
         SELECT {job}, {attempt}, 'active', value ->> 'nonce', $2, $3, $4, $5, $6, $7, $8, $9
         FROM {items}"
    );
    sqlx::query(statement(text))
        .bind(&given)
        .bind(request.stamp.as_str())
        .bind(request.site.as_str())
        .bind(request.ce.as_str())
        .bind(i64::from(request.cores))
        .bind(to_json(&request.decider)?)
        .bind(request.score)
        .bind(request.lease_until.0)
        .bind(request.now.0)
        .execute(&mut *c)
        .await?;
    let text = format!(
        "INSERT INTO events (job_id, attempt, time, status, minor_status, source)
         SELECT {job}, {attempt}, $2, 'Matched', 'Assigned', 'Matcher' FROM {items}"
    );
    sqlx::query(statement(text)).bind(&given).bind(request.now.0).execute(c).await?;
    Ok(())
}
