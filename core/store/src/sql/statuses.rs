//! States of jobs, told by those who run or own them.

use super::{
    dialect::{Dialect, statement},
    gather::{Done, Together},
    moves::{self, Entry, MINOR, moved, release_attempt},
    rows,
};
use crate::{Changed, JobRecord, ReportAnswer, Reported, Speaker, StatusReport, StoreError};
use spinor_model::{id::JobId, state::JobState, time::Timestamp};
use sqlx::{AnyConnection, Row};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Reports of somebody.
#[derive(Clone)]
pub struct Told {
    /// Who.
    pub speaker: Speaker,
    /// The jobs that they name, also those of which they say nothing.
    pub jobs: Vec<JobId>,
    /// What they say.
    pub reports: Arc<Vec<StatusReport>>,
    /// Who it is, for those that name no source.
    pub by: String,
    /// When.
    pub now: Timestamp,
}

impl Together for Told {
    type Answer = Reported;
    type Group = ();

    fn group(&self) {}

    async fn together(c: &mut AnyConnection, told: &[Self]) -> Result<Done<Reported>, StoreError> {
        Ok(Ok(hear(c, told).await?))
    }
}

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

/// What is known of a job.
struct Known {
    job: JobRecord,
    /// Whether a pilot of ours has it.
    held: bool,
    /// The time of the newest entry of its log.
    newest: Timestamp,
}

/// What a report makes of a job.
enum Heard<'a> {
    /// Something newer is known: it is only logged.
    Late(Entry<'a>),
    /// It is so.
    New(Entry<'a>),
}

/// Takes reports on jobs, each on its own merits: for each job in the order of their times.
pub async fn hear(c: &mut AnyConnection, told: &[Told]) -> Result<Vec<Reported>, StoreError> {
    let all = told.iter().flat_map(|one| one.jobs.iter().copied());
    let mut known = known(c, &all.collect()).await?;
    let mut heard: Vec<Reported> = told.iter().map(|one| allowed(one, &known)).collect();
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    for (n, one) in told.iter().enumerate() {
        if matches!(heard.get(n), Some(Reported::Heard { .. })) {
            waiting.extend((0..one.reports.len()).map(|i| (n, i)));
        }
    }
    let report = |(n, i): &(usize, usize)| &told[*n].reports[*i];
    waiting.sort_by_key(|place| (report(place).job, report(place).time));
    while !waiting.is_empty() {
        let (mut now, mut later, mut last) = (Vec::new(), Vec::new(), None);
        for place in waiting {
            let job = report(&place).job;
            if last.replace(job) == Some(job) { later.push(place) } else { now.push(place) }
        }
        round(c, told, &known, &now, &mut heard).await?;
        waiting = later;
        let again: BTreeSet<JobId> = waiting.iter().map(|place| report(place).job).collect();
        known = self::known(c, &again).await?;
    }
    Ok(heard)
}

/// Whether somebody may speak for all jobs that they name.
fn allowed(told: &Told, known: &BTreeMap<JobId, Known>) -> Reported {
    let job = |id: JobId| known.get(&id).map(|known| &known.job);
    match told.jobs.iter().find(|id| !told.speaker.may(**id, job(**id))) {
        Some(id) => Reported::NotYours(*id),
        None => {
            let answers = vec![ReportAnswer::NotFound; told.reports.len()];
            Reported::Heard { answers, changes: Vec::new() }
        }
    }
}

/// Takes reports on different jobs.
async fn round(
    c: &mut AnyConnection,
    told: &[Told],
    known: &BTreeMap<JobId, Known>,
    places: &[(usize, usize)],
    heard: &mut [Reported],
) -> Result<(), StoreError> {
    let (mut late, mut new) = (Vec::new(), Vec::new());
    for (n, i) in places {
        let (one, report) = (&told[*n], &told[*n].reports[*i]);
        let Some(of) = known.get(&report.job).filter(|known| one.speaker.sees(&known.job)) else {
            continue;
        };
        let Reported::Heard { answers, changes } = &mut heard[*n] else { continue };
        answers[*i] = match hear_of(of, report, one) {
            Err(why) => ReportAnswer::Refused(why),
            Ok(Heard::Late(entry)) => {
                late.push(entry);
                ReportAnswer::Taken(Changed::default())
            }
            Ok(Heard::New(entry)) => {
                changes.extend(entry.changed.status.and_then(|to| moved(&of.job, to)));
                let changed = entry.changed.clone();
                new.push((of, entry));
                ReportAnswer::Taken(changed)
            }
        };
    }
    let now = told.iter().map(|one| one.now).max().unwrap_or_default();
    let written: Vec<&Entry<'_>> = new.iter().map(|(_, entry)| entry).collect();
    moves::write(c, &written, now).await?;
    for (of, entry) in &new {
        if let Some(to) = entry.changed.status {
            follow_up(c, of, to).await?;
        }
    }
    let all: Vec<&Entry<'_>> = late.iter().chain(written).collect();
    moves::log(c, &all).await
}

/// What a report makes of a job; or why it cannot be so.
fn hear_of<'a>(of: &'a Known, report: &StatusReport, told: &Told) -> Result<Heard<'a>, String> {
    let status = step(of, report, &told.speaker)?;
    let time = time(of, report, told.now);
    let minor = report.minor.as_ref().map(|text| rows::cut(text, MINOR));
    let application = report.application.as_ref().map(|text| rows::cut(text, 255));
    let order = matches!(status, Some(JobState::Killed | JobState::Deleted));
    let late = !order && !report.force && time < of.newest;
    let begins = |s: &JobState| *s == JobState::Running && of.job.started.is_none();
    let changed = match late {
        // What a pilot has is in the states that the pilot says, then as well.
        true => Changed {
            status: report.status.filter(|_| !of.held),
            minor,
            application,
            ..Changed::default()
        },
        false => Changed {
            status,
            minor,
            application,
            started: status.filter(begins).map(|_| time),
            ended: status.filter(|s| s.is_final()).map(|_| time),
            heartbeat: is_payload(&report.source).then_some(time),
        },
    };
    let source = match report.source.as_str() {
        "" | "Unknown" => &told.by,
        source => source,
    };
    let application = changed.application.as_ref().unwrap_or(&of.job.application_status).clone();
    let source = rows::cut(source, 64);
    let entry = Entry { job: &of.job, changed, application, time, source };
    Ok(if late { Heard::Late(entry) } else { Heard::New(entry) })
}

/// When it is so, as far as it can be. Clocks of workers are not trusted to be ahead; what is told to the
/// second may be any moment of it.
fn time(of: &Known, report: &StatusReport, now: Timestamp) -> Timestamp {
    let time = Timestamp(report.time.0.min(now.0));
    let within = report.time.0 % 1000 == 0 && time.0 / 1000 == of.newest.0 / 1000;
    if within { time.max(of.newest) } else { time }
}

/// Whether a source runs with the job: that it says something is a heartbeat.
fn is_payload(source: &str) -> bool {
    source.starts_with("Job") || source == "Heartbeat"
}

/// The state that a report brings a job to, if it does; or why it cannot be.
fn step(
    Known { job, held, .. }: &Known,
    report: &StatusReport,
    speaker: &Speaker,
) -> Result<Option<JobState>, String> {
    let wanted = match report.status {
        // A job that is sent back begins anew.
        Some(JobState::Rescheduled) => JobState::Received,
        Some(status) => status,
        None => return Ok(None),
    };
    let order = matches!(wanted, JobState::Killed | JobState::Deleted);
    if wanted == job.status {
        return Ok(None);
    }
    if *held && !order && wanted != JobState::Running {
        return match speaker {
            // Its pilot says how it ends, and has yet to see it.
            Speaker::Payload { .. } => Ok(None),
            _ => Err("a pilot of this server has it, and says what becomes of it: kill or reschedule it instead".to_owned()),
        };
    }
    // What a deleted job was given may be gone.
    if report.force && job.status != JobState::Deleted {
        return Ok(Some(wanted));
    }
    if !REPORTED.contains(&wanted) {
        return Err(format!("{wanted} is for this server to say"));
    }
    if job.status.is_final() && wanted != JobState::Deleted {
        return Err(format!("it is {} and stays so; reschedule it", job.status));
    }
    // A job that was thought dead is not, if somebody hears of it; what runs is killed on its way out.
    let from = if job.status == JobState::Stalled { JobState::Running } else { job.status };
    match job.status.to(wanted).or_else(|_| from.to(wanted)) {
        Ok(to) => Ok(Some(to)),
        Err(_) if wanted == JobState::Deleted && from.to(JobState::Killed).is_ok() => {
            Ok(Some(wanted))
        }
        Err(illegal) => Err(illegal.to_string()),
    }
}

async fn known(
    c: &mut AnyConnection,
    ids: &BTreeSet<JobId>,
) -> Result<BTreeMap<JobId, Known>, StoreError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (ids, those) = (rows::to_json(ids)?, Dialect::of(c).numbers("$1"));
    if Dialect::of(c) == Dialect::Postgres {
        // In the order in which everybody holds jobs; what others did meanwhile is seen by the next statement.
        let hold =
            format!("SELECT job_id FROM jobs WHERE job_id IN {those} ORDER BY job_id FOR UPDATE");
        sqlx::query(statement(hold)).bind(&ids).fetch_all(&mut *c).await?;
    }
    let text = format!(
        "SELECT jobs.*,
            (SELECT count(*) FROM attempts WHERE attempts.job_id = jobs.job_id
                AND attempts.attempt = jobs.attempt AND state = 'active') AS held,
            (SELECT coalesce(max(time), 0) FROM events WHERE events.job_id = jobs.job_id) AS newest
         FROM jobs WHERE job_id IN {those} ORDER BY job_id"
    );
    let found = sqlx::query(statement(text)).bind(ids).fetch_all(c).await?;
    let known = |row| {
        let job = rows::job(row)?;
        let held = row.try_get::<i64, _>("held")? > 0;
        // Each log begins with the submission.
        let newest = rows::time(row, "newest")?.max(job.submitted);
        Ok((job.id, Known { job, held, newest }))
    };
    found.iter().map(known).collect()
}

/// What a job's new state means for the pilot that has it, and for whoever else runs it.
async fn follow_up(
    c: &mut AnyConnection,
    Known { job, held, .. }: &Known,
    to: JobState,
) -> Result<(), StoreError> {
    if *held && to != JobState::Running {
        release_attempt(c, job).await?;
    }
    match to {
        JobState::Killed | JobState::Deleted if !held => tell_to_end(c, job).await,
        JobState::Received | JobState::Waiting => forget_commands(c, job.id).await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        JobStore, ReportStore,
        sql::{
            SqlStore,
            testing::{store, waiting},
        },
    };
    use futures::future::join_all;

    /// Jobs 1 and 2 are ada's, 3 is bob's.
    async fn jobs() -> (SqlStore, tempfile::TempDir) {
        let (store, directory) = store().await;
        waiting(&store, &["ada", "ada", "bob"]).await;
        (store, directory)
    }

    fn report(job: i64, time: i64, status: Option<JobState>, application: &str) -> StatusReport {
        StatusReport {
            job: JobId(job),
            time: Timestamp(time),
            status,
            minor: None,
            application: Some(application.to_owned()),
            source: String::new(),
            force: false,
        }
    }

    async fn tell(store: &SqlStore, reports: Vec<StatusReport>) -> Reported {
        let jobs = reports.iter().map(|report| report.job).collect();
        tell_of(store, jobs, reports).await
    }

    async fn tell_of(store: &SqlStore, jobs: Vec<JobId>, reports: Vec<StatusReport>) -> Reported {
        let ada = Speaker::Owner { vo: "vo".parse().unwrap(), owner: "ada".parse().unwrap() };
        store.report(ada, jobs, reports, "ada".to_owned(), Timestamp(100)).await.unwrap()
    }

    #[tokio::test]
    async fn each_job_moves_in_the_order_of_its_own_times() {
        let (store, _directory) = jobs().await;
        let told = tell(
            &store,
            vec![
                report(1, 8, Some(JobState::Running), "b"),
                report(2, 9, Some(JobState::Done), "x"),
                report(1, 7, Some(JobState::Matched), "a"),
                report(1, 6, None, "late"),
                report(1, 3, None, "early"),
                report(1, 4, Some(JobState::Done), "early too"),
            ],
        );
        let Reported::Heard { answers, changes } = told.await else { panic!() };
        let taken = |answer: &ReportAnswer| matches!(answer, ReportAnswer::Taken(_));
        assert_eq!(
            answers.iter().map(taken).collect::<Vec<_>>(),
            [true, false, true, true, true, false]
        );
        assert_eq!(changes.iter().map(|change| change.delta).sum::<i64>(), -1);
        let job = store.job(JobId(1)).await.unwrap().unwrap();
        assert_eq!((job.status, job.started), (JobState::Running, Some(Timestamp(8))));
        assert_eq!(job.application_status, "b");
        let log = store.events(JobId(1)).await.unwrap();
        let said = log.iter().map(|entry| entry.application_status.as_str());
        assert_eq!(said.collect::<Vec<_>>(), ["", "", "early", "late", "a", "b"]);
        assert_eq!(store.job(JobId(2)).await.unwrap().unwrap().status, JobState::Waiting);
    }

    #[tokio::test]
    async fn what_is_told_to_the_second_is_not_behind_what_was_told_within_it() {
        let (store, _directory) = jobs().await;
        let at = |time: i64, text: &str| {
            let ada = Speaker::Owner { vo: "vo".parse().unwrap(), owner: "ada".parse().unwrap() };
            let (jobs, reports) = (vec![JobId(1)], vec![report(1, time, None, text)]);
            store.report(ada, jobs, reports, "ada".to_owned(), Timestamp(9_000))
        };
        let says = || async { store.job(JobId(1)).await.unwrap().unwrap().application_status };
        for (time, text, heard) in
            [(3_456, "a", "a"), (3_000, "b", "b"), (3_455, "c", "b"), (2_000, "d", "b")]
        {
            at(time, text).await.unwrap();
            assert_eq!(says().await, heard, "{text}");
        }
    }

    #[tokio::test]
    async fn what_runs_with_a_job_is_a_heartbeat_of_it() {
        let (store, _directory) = jobs().await;
        let from = |source: &str, time: i64| {
            let report = StatusReport { source: source.to_owned(), ..report(1, time, None, "a") };
            tell(&store, vec![report])
        };
        for (source, time, heard) in
            [("JobWrapper", 7, Some(Timestamp(7))), ("Portal", 8, None), ("JobAgent", 6, None)]
        {
            let Reported::Heard { answers, .. } = from(source, time).await else { panic!() };
            let ReportAnswer::Taken(changed) = &answers[0] else { panic!("{answers:?}") };
            assert_eq!(changed.heartbeat, heard, "{source}");
        }
        let kept = sqlx::query_scalar::<_, i64>("SELECT heartbeat FROM jobs WHERE job_id = 1");
        assert_eq!(kept.fetch_one(&store.readers).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn nothing_is_heard_of_whoever_speaks_for_others() {
        let (store, _directory) = jobs().await;
        let told = tell(&store, vec![report(1, 8, None, "a"), report(3, 8, None, "a")]).await;
        assert_eq!(told, Reported::NotYours(JobId(3)));
        assert_eq!(tell(&store, vec![report(4, 8, None, "a")]).await, Reported::NotYours(JobId(4)));
        let named = tell_of(&store, vec![JobId(1), JobId(3)], vec![report(1, 8, None, "a")]).await;
        assert_eq!(named, Reported::NotYours(JobId(3)), "though nothing is said of it");
        assert_eq!(store.job(JobId(1)).await.unwrap().unwrap().application_status, "");
    }

    #[tokio::test]
    async fn what_is_told_at_the_same_moment_is_all_heard_and_others_are_not_held_up() {
        let (store, _directory) = jobs().await;
        let one = |n: i64| {
            let said = format!("step {n}");
            tell(&store, vec![report(1 + n % 3, 10 + n, None, &said)])
        };
        let told = join_all((0..60).map(one)).await;
        let refused = told.iter().filter(|told| **told == Reported::NotYours(JobId(3))).count();
        assert_eq!(refused, 20);
        for id in [1, 2] {
            assert_eq!(store.events(JobId(id)).await.unwrap().len(), 22);
            let job = store.job(JobId(id)).await.unwrap().unwrap();
            assert_eq!(job.application_status, format!("step {}", 56 + id));
        }
    }
}
