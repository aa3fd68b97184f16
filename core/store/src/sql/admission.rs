//! Submissions: a template and its jobs, stored whole or not at all.

use super::{
    dialect::{Dialect, Growing, alone, parts, statement},
    gather::{Done, Together},
    moves::intern_class,
    rows::{self, to_json},
};
use crate::{NewJob, NewTemplate, QueueChange, QueueKey, Room, StoreError, Submission};
use serde_json::json;
use spinor_model::{
    id::{ClassId, Digest, GroupName, JobId, JobType, UserName, VoName},
    requirement::Requirement,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// A submission: templates of one VO.
#[derive(Clone)]
pub struct Asked {
    templates: Arc<Vec<Written>>,
    room: Room,
    now: Timestamp,
}

impl Asked {
    /// Templates, what may wait in their VO, and when it is.
    pub fn new(
        templates: Vec<NewTemplate>,
        room: Room,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let written: Result<_, _> = templates.into_iter().map(Written::new).collect();
        Ok(Self { templates: Arc::new(written?), room, now })
    }
}

/// A template, and what goes into the database as JSON: written before its turn comes, which holds up all others.
struct Written {
    new: NewTemplate,
    shape: Shape,
    plan: String,
    requirement: String,
    planned_by: String,
    input_data: String,
}

impl Written {
    fn new(new: NewTemplate) -> Result<Self, StoreError> {
        Ok(Self {
            shape: Shape::of(&new)?,
            plan: to_json(&new.plan)?,
            requirement: to_json(&new.requirement)?,
            planned_by: to_json(&new.planned_by)?,
            input_data: to_json(&new.input_data)?,
            new,
        })
    }
}

impl Together for Asked {
    type Answer = Submission;
    type Group = (Option<VoName>, u64);

    /// Those of one VO under one limit are counted together.
    fn group(&self) -> Self::Group {
        (self.templates.first().map(|one| one.new.vo.clone()), self.room.max_waiting)
    }

    async fn together(
        c: &mut AnyConnection,
        asked: &[Self],
    ) -> Result<Done<Submission>, StoreError> {
        submit(c, asked).await
    }
}

/// Takes submissions of one VO on, all of them; or says why one of them cannot be, and has done nothing.
async fn submit(c: &mut AnyConnection, asked: &[Asked]) -> Result<Done<Submission>, StoreError> {
    let templates: Vec<&Written> = asked.iter().flat_map(|one| one.templates.iter()).collect();
    let mut jobs = Vec::with_capacity(templates.len());
    let mut new: Vec<New<'_>> = Vec::new();
    for (number, (of, before)) in (0..).zip(templates.iter().zip(repeated(c, &templates).await?)) {
        let times = &of.new.times;
        let done = before.turns.len().min(times.len());
        if done < times.len() {
            let fresh = |key: &&String| !before.keys.contains(*key);
            let missing = times.iter().skip(done).chain(times);
            let key = missing.flatten().find(fresh).cloned();
            new.push(New { number, of, key, times: times.len() - done });
        }
        jobs.push(before.turns.into_iter().take(done).collect::<Vec<_>>());
    }
    let mut queues: Vec<Option<(QueueKey, usize)>> = vec![None; templates.len()];
    if let Some(first) = new.first() {
        if let Some(refusal) = refused(c, asked, &first.of.new.vo, &new).await? {
            return Ok(Err(refusal));
        }
        let now = asked.iter().map(|one| one.now).max().unwrap_or(Timestamp(0));
        for (number, (queue, own)) in store(c, &new, now).await? {
            if let (Some(to), Some(jobs)) = (queues.get_mut(number), jobs.get_mut(number)) {
                *to = Some((queue, own.iter().map(Vec::len).sum()));
                jobs.extend(own);
            }
        }
    }
    let mut stored = jobs.into_iter().zip(queues);
    let one = |asked: &Asked| answer(stored.by_ref().take(asked.templates.len()));
    Ok(Ok(asked.iter().map(one).collect()))
}

/// A template that is not there yet, or not as often as it was asked for.
struct New<'a> {
    /// Its place among all.
    number: usize,
    of: &'a Written,
    key: Option<String>,
    /// How often it is not there yet.
    times: usize,
}

impl New<'_> {
    fn count(&self) -> usize {
        self.of.new.jobs.len() * self.times
    }
}

/// Jobs of a template by their rows, sorted.
type Rows = BTreeMap<i64, Vec<JobId>>;

/// The jobs of each time that a template was asked for: there are as many of each row.
fn turns(rows: &Rows) -> Vec<Vec<JobId>> {
    let times = rows.values().map(Vec::len).max().unwrap_or(0);
    let turn = |turn| rows.values().filter_map(|jobs| jobs.get(turn)).copied().collect();
    (0..times).map(turn).collect()
}

/// What is there of a template.
#[derive(Default)]
struct Before {
    keys: BTreeSet<String>,
    turns: Vec<Vec<JobId>>,
}

/// What a submission got: jobs that are there already change no queue.
fn answer(
    stored: impl Iterator<Item = (Vec<Vec<JobId>>, Option<(QueueKey, usize)>)>,
) -> Submission {
    let (mut all, mut gained) = (Vec::new(), HashMap::new());
    for (jobs, queue) in stored {
        if let Some((queue, new)) = queue {
            *gained.entry(queue).or_insert(0) += new as i64;
        }
        all.push(jobs);
    }
    let changes = gained.into_iter().map(|(queue, delta)| QueueChange { queue, delta }).collect();
    Submission::Stored { jobs: all, changes }
}

async fn refused(
    c: &mut AnyConnection,
    asked: &[Asked],
    vo: &VoName,
    new: &[New<'_>],
) -> Result<Option<Submission>, StoreError> {
    if let Some(Room { max_waiting, .. }) = asked.first().map(|one| one.room) {
        // Of one limit, it is known to all or to none.
        let waiting = match asked.iter().filter_map(|one| one.room.waiting).max() {
            Some(known) => known,
            None => {
                alone(c, &format!("waiting {vo}")).await?;
                waiting(c, vo).await?
            }
        };
        if waiting + new.iter().map(|new| new.count() as u64).sum::<u64>() > max_waiting {
            return Ok(Some(Submission::OverQuota { waiting }));
        }
    }
    Ok(missing_sandbox(c, new).await?.map(Submission::NoSandbox))
}

/// Stores what is new: the queue and the jobs of each.
async fn store(
    c: &mut AnyConnection,
    new: &[New<'_>],
    now: Timestamp,
) -> Result<BTreeMap<usize, (QueueKey, Vec<Vec<JobId>>)>, StoreError> {
    let ids = insert_templates(c, new, now).await?;
    let mut shapes: BTreeMap<&Shape, BTreeMap<i64, &New<'_>>> = BTreeMap::new();
    for (new, id) in new.iter().zip(&ids) {
        shapes.entry(&new.of.shape).or_default().insert(*id, new);
    }
    let mut stored = BTreeMap::new();
    for (shape, templates) in shapes {
        let class = shape.class(c).await?;
        let mut jobs = insert_jobs(c, shape, class, &templates, now).await?;
        for (id, new) in templates {
            let rows = jobs.remove(&id).unwrap_or_default();
            let queue = QueueKey { class, owner: shape.owner.clone() };
            stored.insert(new.number, (queue, turns(&rows)));
        }
    }
    Ok(stored)
}

/// What was taken on before, under the same keys.
async fn repeated(
    c: &mut AnyConnection,
    templates: &[&Written],
) -> Result<Vec<Before>, StoreError> {
    let mut found: Vec<Before> = templates.iter().map(|_| Before::default()).collect();
    let keyed = |(n, Written { new, .. }): (usize, &&Written)| {
        let (vo, owner) = (new.vo.clone(), new.owner.clone());
        let asked = move |(turn, key): (usize, Option<String>)| {
            Some(json!({"n": n, "turn": turn, "vo": vo, "owner": owner, "key": key?}))
        };
        new.times.clone().into_iter().enumerate().filter_map(asked)
    };
    let asked: Vec<_> = templates.iter().enumerate().flat_map(keyed).collect();
    if asked.is_empty() {
        return Ok(found);
    }
    // Two requests with one key, at the same time on two servers, are one submission as well.
    // Requests number their descriptions behind a slash: one lock for all of them.
    let request = |key: &str| key.rsplit_once('/').map_or(key, |(request, _)| request).to_owned();
    let requests = templates
        .iter()
        .filter_map(|Written { new, .. }| {
            new.times.iter().flatten().next().map(|key| (new, request(key)))
        })
        .map(|(new, request)| format!("{} {} {request}", new.vo, new.owner));
    for request in requests.collect::<BTreeSet<_>>() {
        alone(c, &format!("submission {request}")).await?;
    }
    let text = format!(
        "SELECT asked.n, turn, submission_key, jobs.row_number, jobs.job_id FROM (SELECT CAST(value ->> 'n' AS BIGINT) AS n,
            CAST(value ->> 'turn' AS BIGINT) AS turn, value ->> 'vo' AS vo, value ->> 'owner' AS owner,
            value ->> 'key' AS submission_key FROM {}) AS asked
         JOIN templates USING (vo, owner, submission_key) JOIN jobs USING (template_id)
         ORDER BY asked.n, asked.turn, jobs.row_number, jobs.job_id",
        Dialect::of(c).items("$1")
    );
    let mut of_keys: BTreeMap<(usize, i64), Rows> = BTreeMap::new();
    for row in sqlx::query(statement(text)).bind(to_json(&asked)?).fetch_all(c).await? {
        let number = usize::try_from(row.try_get::<i64, _>("n")?).unwrap_or(usize::MAX);
        let Some(before) = found.get_mut(number) else { continue };
        before.keys.insert(row.try_get("submission_key")?);
        let rows = of_keys.entry((number, row.try_get("turn")?)).or_default();
        rows.entry(row.try_get("row_number")?).or_default().push(JobId(row.try_get("job_id")?));
    }
    for ((number, _), rows) in of_keys {
        found[number].turns.extend(turns(&rows));
    }
    Ok(found)
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
    templates: &[New<'_>],
) -> Result<Option<Digest>, StoreError> {
    let of_one = |New { of: Written { new, .. }, .. }: &New<'_>| {
        let (vo, owner) = (new.vo.clone(), new.owner.clone());
        let named = |digest| json!({"vo": vo, "owner": owner, "digest": digest});
        new.sandboxes.iter().map(named).collect::<Vec<_>>()
    };
    let asked: Vec<_> = templates.iter().flat_map(of_one).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let text = format!(
        "SELECT value ->> 'digest' AS digest FROM {} WHERE NOT EXISTS (SELECT 1 FROM sandboxes
            WHERE vo = value ->> 'vo' AND owner = value ->> 'owner' AND digest = value ->> 'digest') LIMIT 1",
        Dialect::of(c).items("$1")
    );
    let missing = sqlx::query(statement(text)).bind(to_json(&asked)?).fetch_optional(c).await?;
    missing.map(|row| rows::parsed(&row, "digest")).transpose()
}

/// All templates; their numbers in the same order.
async fn insert_templates(
    c: &mut AnyConnection,
    templates: &[New<'_>],
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    let mut ids: Vec<i64> = Vec::with_capacity(templates.len());
    for part in parts(templates) {
        let mut insert = Growing::new(
            "INSERT INTO templates (vo, grp, owner, job_type, submission_key, template, plan, requirement,
                planned_by, jobs, submitted, source, input_data) VALUES",
        );
        for one @ New { of, key, .. } in part {
            let new = &of.new;
            let row = [
                new.vo.to_string().into(),
                new.group.to_string().into(),
                new.owner.to_string().into(),
                new.job_type.to_string().into(),
                key.clone().into(),
                new.template.clone().into(),
                of.plan.clone().into(),
                of.requirement.clone().into(),
                of.planned_by.clone().into(),
                (one.count() as i64).into(),
                now.0.into(),
                rows::plain(&new.source).into(),
                of.input_data.clone().into(),
            ];
            insert.row(row, "")?;
        }
        insert.push(" RETURNING template_id");
        for row in insert.rows(&mut *c).await? {
            ids.push(row.try_get("template_id")?);
        }
    }
    ids.sort_unstable();
    let given = templates.iter().zip(&ids).flat_map(|(new, id)| {
        new.of.new.sandboxes.iter().map(move |digest| json!({"template": id, "digest": digest}))
    });
    let given: Vec<_> = given.collect();
    if !given.is_empty() {
        let text = format!(
            "INSERT INTO template_sandboxes
             SELECT DISTINCT CAST(value ->> 'template' AS BIGINT), value ->> 'digest' FROM {}",
            Dialect::of(c).items("$1")
        );
        sqlx::query(statement(text)).bind(to_json(&given)?).execute(c).await?;
    }
    Ok(ids)
}

/// What jobs have in common that go in together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    vo: VoName,
    group: GroupName,
    owner: UserName,
    job_type: JobType,
    requirement: String,
    priority: u8,
    site: String,
    person: String,
}

impl Shape {
    fn of(new: &NewTemplate) -> Result<Self, StoreError> {
        Ok(Self {
            vo: new.vo.clone(),
            group: new.group.clone(),
            owner: new.owner.clone(),
            job_type: new.job_type.clone(),
            requirement: to_json(&new.requirement.class())?,
            priority: new.priority,
            site: asked_site(&new.requirement),
            person: rows::plain(&new.person),
        })
    }

    async fn class(&self, c: &mut AnyConnection) -> Result<ClassId, StoreError> {
        intern_class(c, (&self.vo, &self.group, &self.job_type), &self.requirement).await
    }
}

/// What DIRAC shows for the site of a job that has not run.
pub fn asked_site(asked: &Requirement) -> String {
    match (asked.sites.len(), asked.sites.first()) {
        (1, Some(site)) => site.to_string(),
        (0, _) => "ANY".to_owned(),
        _ => "Multiple".to_owned(),
    }
}

/// All jobs of a shape, by their templates.
async fn insert_jobs(
    c: &mut AnyConnection,
    shape: &Shape,
    class: ClassId,
    templates: &BTreeMap<i64, &New<'_>>,
    now: Timestamp,
) -> Result<BTreeMap<i64, Rows>, StoreError> {
    let mut numbered: Vec<(i64, i64, &NewJob)> = Vec::new();
    for (template, new) in templates {
        for (row, job) in (0..).zip(&new.of.new.jobs) {
            numbered.extend((0..new.times).map(|_| (*template, row, job)));
        }
    }
    let mut inserted = Vec::with_capacity(numbered.len());
    // Mostly all are in one group.
    let of_groups = numbered.chunk_by(|(.., one), (.., other)| one.job_group == other.job_group);
    for part in of_groups.flat_map(parts) {
        let mut insert = Growing::new(
            "INSERT INTO jobs (template_id, row_number, parameters, name, class_id, vo, grp, owner,
                job_type, priority, submitted, updated, job_group, site, person, status, minor_status) VALUES",
        );
        insert.hold(class.0)?.hold(shape.vo.to_string())?.hold(shape.group.to_string())?;
        insert.hold(shape.owner.to_string())?.hold(shape.job_type.to_string())?;
        let job_group = part.first().map_or("", |(.., job)| &job.job_group);
        insert.hold(i64::from(shape.priority))?.hold(now.0)?.hold(job_group.to_owned())?;
        insert.hold(shape.site.clone())?.hold(shape.person.clone())?;
        for (template, row, job) in part {
            let row = [
                (*template).into(),
                (*row).into(),
                to_json(&job.parameters)?.into(),
                job.name.clone().into(),
            ];
            insert.row(
                row,
                ", $1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10, 'Waiting', 'Pilot Agent Submission'",
            )?;
        }
        insert.push(" RETURNING job_id, template_id, row_number");
        inserted.extend(insert.rows(&mut *c).await?);
    }
    let mut jobs: Vec<(i64, i64, JobId)> = Vec::with_capacity(inserted.len());
    for row in &inserted {
        let (template, number) = (row.try_get("template_id")?, row.try_get("row_number")?);
        jobs.push((template, number, JobId(row.try_get("job_id")?)));
    }
    jobs.sort_unstable();
    let mut of_each: BTreeMap<i64, Rows> = BTreeMap::new();
    for (template, row, job) in jobs {
        of_each.entry(template).or_default().entry(row).or_default().push(job);
    }
    Ok(of_each)
}
