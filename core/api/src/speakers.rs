//! For which jobs a caller may speak.

use crate::{Shared, problem::Problem};
use spinor_identity::{access::administers_jobs, subject::Subject};
use spinor_model::id::JobId;
use spinor_store::{JobRecord, Speaker};
use std::collections::BTreeMap;

/// Jobs of one request.
const MAX_JOBS: usize = 5_000;

/// Some jobs, and not too many.
pub fn some(jobs: usize) -> Result<(), Problem> {
    match jobs {
        0 => Err(Problem::forbidden("permission is asked for jobs: name one")),
        1..=MAX_JOBS => Ok(()),
        _ => Err(Problem::bad_request(format!("{jobs} jobs: send {MAX_JOBS} at most"))),
    }
}

/// Jobs that the caller may speak for: all of them, or it is an error. Those that are not there are left
/// out for whoever speaks for the whole VO.
pub async fn theirs(
    app: &Shared,
    subject: &Subject,
    ids: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, JobRecord>, Problem> {
    let ids: Vec<JobId> = ids.map(JobId).collect();
    some(ids.len())?;
    let speaker = speaker(subject);
    let found = app.lifecycle.store.jobs_by_id(&ids).await?;
    let found: BTreeMap<i64, JobRecord> =
        found.into_iter().filter(|job| speaker.sees(job)).map(|job| (job.id.0, job)).collect();
    match ids.iter().find(|id| !speaker.may(**id, found.get(&id.0))) {
        Some(id) => Err(not_theirs(*id)),
        None => Ok(found),
    }
}

/// For which jobs the caller may speak.
pub fn speaker(subject: &Subject) -> Speaker {
    match subject {
        Subject::Operator { .. } => Speaker::All,
        Subject::Member(member)
            if administers_jobs(subject) || member.properties.contains("GenericPilot") =>
        {
            Speaker::Vo(member.vo.clone())
        }
        Subject::Member(member) => {
            Speaker::Owner { vo: member.vo.clone(), owner: member.user.clone() }
        }
        Subject::Job { job, attempt, vo, .. } => {
            Speaker::Payload { vo: vo.clone(), job: *job, attempt: *attempt }
        }
        Subject::Pilot(_) => Speaker::Nobody,
    }
}

/// What is said of a job that the caller may not speak for.
pub fn not_theirs(id: JobId) -> Problem {
    Problem::forbidden(format!(
        "job {id} is not there, or not yours to speak for: a payload has the permission for its own job while it runs, and people need the property JobAdministrator for others' jobs"
    ))
}

/// What is said of a job that is not there.
pub fn missing(id: impl std::fmt::Display) -> String {
    format!("Job {id} not found")
}

/// Jobs that the caller may speak for, all of which are there.
pub async fn all_theirs(
    app: &Shared,
    subject: &Subject,
    ids: impl Iterator<Item = i64> + Clone,
) -> Result<BTreeMap<i64, JobRecord>, Problem> {
    let found = theirs(app, subject, ids.clone()).await?;
    match ids.into_iter().find(|id| !found.contains_key(id)) {
        Some(id) => Err(Problem::not_found(missing(id))),
        None => Ok(found),
    }
}

/// A job that the caller may speak for.
pub async fn their_job(app: &Shared, subject: &Subject, id: i64) -> Result<JobRecord, Problem> {
    let found = theirs(app, subject, std::iter::once(id)).await?.remove(&id);
    found.ok_or_else(|| Problem::not_found(missing(id)))
}
