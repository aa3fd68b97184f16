//! Sandboxes as DiracX's clients know them: a form to upload with, a link to download by, names to give
//! to jobs. Forms and links carry a grant of their own, as those of an object store would.

use super::query::{read, unprocessable};
use crate::{
    Guarded, Shared,
    auth::member,
    problem::Problem,
    sandboxes::{check_quota, has_sandbox, keep},
    speakers::{their_job, theirs},
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{DefaultBodyLimit, Multipart, Path, Query, State, multipart::Field},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spinor_identity::{
    access::{Permission, administers_jobs},
    subject::Subject,
};
use spinor_model::{
    id::{Digest, JobId},
    sandbox::{SandboxFormat, SandboxName},
};
use spinor_store::{Form, NewSandbox, SandboxKind};
use std::time::Duration;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let read = |route| guarded.route(Permission::ReadSandboxes, route);
    let report = |route| guarded.route(Permission::ReportJobs, route);
    let upload =
        OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(MAX_FORM));
    OpenApiRouter::new()
        .merge(guarded.route(Permission::WriteSandboxes, routes!(initiate)))
        .merge(read(routes!(link)))
        .merge(upload)
        .routes(routes!(file))
        .merge(read(routes!(of_job)))
        .merge(read(routes!(of_kind)))
        .merge(report(routes!(assign)))
        .merge(report(routes!(unassign)))
        .merge(report(routes!(unassign_all)))
}

/// Bytes of a form: a VO's `limits.max_sandbox_mb` counts up to this.
const MAX_FORM: usize = 256 << 20;

/// Forms that are taken at a time: each is held in memory.
static FORMS: Semaphore = Semaphore::const_new(4);

/// Bytes of a grant.
const MAX_GRANT: u64 = 4096;

/// A form or a link works so long.
const VALID: Duration = Duration::from_secs(300);

/// What a form or a link stands for.
#[derive(Serialize, Deserialize)]
struct Grant {
    /// `upload` or `download`.
    sandbox_grant: String,
    name: String,
    size: u64,
    exp: i64,
}

impl Grant {
    fn of(app: &Shared, what: &str, name: &SandboxName, size: u64) -> Result<String, Problem> {
        let exp = app.lifecycle.now().plus(VALID).0 / 1000;
        let grant = Self { sandbox_grant: what.to_owned(), name: name.to_string(), size, exp };
        app.keys
            .sign(&grant)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    fn check(app: &Shared, what: &str, text: &str) -> Result<(SandboxName, u64), Problem> {
        let grant: Self =
            app.keys.verify(text).ok_or_else(|| Problem::forbidden("the grant is not valid"))?;
        if grant.sandbox_grant != what || grant.exp * 1000 < app.lifecycle.now().0 {
            return Err(Problem::forbidden("the grant is for something else, or too old"));
        }
        let name =
            grant.name.parse().map_err(|_| Problem::forbidden("the grant names no sandbox"))?;
        Ok((name, grant.size))
    }
}

/// A sandbox that is to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
struct Info {
    /// `sha256`.
    checksum_algorithm: String,
    /// 64 hexadecimal digits.
    checksum: String,
    /// Bytes.
    size: u64,
    /// `tar.zst` or `tar.bz2`.
    format: String,
}

/// Begins an upload: what to send where; nothing if it is here already.
#[utoipa::path(post, path = "/api/jobs/sandbox", tag = "jobs", request_body = Info,
    responses((status = 200, body = Object), (status = 400, body = Problem)))]
async fn initiate(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<Json<Value>, Problem> {
    let member = member(&subject)?;
    let info: Info = read(&bytes)?;
    if info.checksum_algorithm != "sha256" || info.size == 0 {
        return Err(unprocessable(
            "checksum_algorithm must be sha256, and size at least 1".to_owned(),
        ));
    }
    let digest: Digest =
        info.checksum.parse().map_err(|error| unprocessable(format!("checksum: {error}")))?;
    let format: SandboxFormat = info
        .format
        .parse()
        .map_err(|_| unprocessable("format must be tar.zst or tar.bz2".to_owned()))?;
    let limit = app.lifecycle.document(&member.vo)?.limits.max_sandbox_mb << 20;
    if info.size > limit {
        let text = format!("Sandbox too large, maximum allowed is {limit} bytes");
        return Err(Problem::bad_request(text));
    }
    let (vo, group, user) = (member.vo.clone(), member.group.clone(), member.user.clone());
    let here = app.lifecycle.store.has_sandbox(&vo, Some(&user), digest).await?;
    let name = SandboxName { vo, group, user, digest, format };
    if here {
        // It is wanted again: its days begin anew.
        let (vo, owner) = (name.vo.clone(), Some(name.user.clone()));
        let (group, size) = (Some(name.group.clone()), info.size);
        let new = NewSandbox { vo, owner, group, digest, size, format };
        app.lifecycle.store.add_sandbox(new, app.lifecycle.now()).await?;
        return Ok(Json(json!({"pfn": name.to_string(), "url": null, "fields": {}})));
    }
    check_quota(&app, &name.vo, info.size).await?;
    let ticket = ticket(&name);
    if let Some(Form { url, fields }) =
        app.blobs.form(&ticket, info.size, app.lifecycle.now(), VALID).await?
    {
        return Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})));
    }
    let grant = Grant::of(&app, "upload", &name, info.size)?;
    let url = format!("{}/api/jobs/sandbox/upload", app.lifecycle.url);
    let fields = json!({"key": name.to_string(), "grant": grant});
    Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})))
}

/// Under what a sandbox waits in the object store until it is named.
fn ticket(name: &SandboxName) -> Digest {
    Digest::of(name.to_string().as_bytes())
}

/// Takes a sandbox on that was sent to the object store, once its content is seen to be what its name
/// says; whether it is here.
pub(super) async fn settle(app: &Shared, name: &SandboxName) -> Result<bool, Problem> {
    if app.lifecycle.store.has_sandbox(&name.vo, Some(&name.user), name.digest).await? {
        return Ok(true);
    }
    let ticket = ticket(name);
    let limit = app.lifecycle.document(&name.vo)?.limits.max_sandbox_mb << 20;
    let Some(content) = app.blobs.sent(&ticket, limit).await? else { return Ok(false) };
    let checked = check_content(name, &content);
    if checked.is_ok() {
        store(app, name, &content).await?;
    }
    app.blobs.remove_sent(&ticket).await?;
    checked.map(|()| true)
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format!("the form cannot be read: {error}"))
}

async fn content(mut field: Field<'_>, size: u64) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        if (content.len() + chunk.len()) as u64 > size {
            let text = format!("the file has more than the {size} bytes that were announced");
            return Err(Problem::bad_request(text));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// Takes a file with the fields that came with its form: no token is needed beside the grant.
#[utoipa::path(post, path = "/api/jobs/sandbox/upload", tag = "jobs",
    request_body(content = Object, content_type = "multipart/form-data"),
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem)))]
async fn upload(State(app): State<Shared>, mut form: Multipart) -> Result<StatusCode, Problem> {
    let mut granted = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name().unwrap_or_default() {
            "grant" => {
                let text = content(field, MAX_GRANT).await?;
                granted = Some(Grant::check(&app, "upload", &String::from_utf8_lossy(&text))?);
            }
            "file" => {
                let missing = || Problem::forbidden("no grant before the file");
                let (name, size) = granted.take().ok_or_else(missing)?;
                let _turn = FORMS.acquire().await.map_err(broken)?;
                let content = tokio::time::timeout(VALID, content(field, size)).await;
                let content = content.map_err(broken)??;
                check_content(&name, &content)?;
                store(&app, &name, &content).await?;
                return Ok(StatusCode::NO_CONTENT);
            }
            _ => {}
        }
    }
    Err(Problem::bad_request("the form has no file"))
}

/// Takes on what was seen to be what its name says.
async fn store(app: &Shared, name: &SandboxName, content: &[u8]) -> Result<(), Problem> {
    let SandboxName { vo, group, user, digest, format } = name.clone();
    let (owner, group, size) = (Some(user), Some(group), content.len() as u64);
    keep(app, NewSandbox { vo, owner, group, digest, size, format }, content).await
}

/// Whether content is what its name says.
fn check_content(name: &SandboxName, content: &[u8]) -> Result<(), Problem> {
    let found = Digest::of(content);
    if found != name.digest {
        let text =
            format!("the file's SHA-256 is {found}, not the {} that was announced", name.digest);
        return Err(Problem::bad_request(text));
    }
    if SandboxFormat::of(content) != Some(name.format) {
        return Err(Problem::bad_request(format!("the file is no {}", name.format.as_str())));
    }
    Ok(())
}

/// Which sandbox.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// Its name.
    pfn: String,
}

fn named(pfn: &str) -> Result<SandboxName, Problem> {
    if pfn.len() > 256 {
        return Err(unprocessable("pfn has more than 256 characters".to_owned()));
    }
    pfn.parse().map_err(|error| Problem::bad_request(format!("pfn: {error}")))
}

/// Whose sandboxes a caller may have: one's own, or the VO's for its administrators; a payload, its job's.
async fn check_owner(app: &Shared, subject: &Subject, name: &SandboxName) -> Result<(), Problem> {
    let theirs = match subject {
        Subject::Operator { .. } => true,
        Subject::Member(member) => {
            member.vo == name.vo && (member.user == name.user || administers_jobs(subject))
        }
        Subject::Job { job, vo, owner, .. } => {
            *vo == name.vo
                && *owner == name.user
                && has_sandbox(app, subject, *job, &name.digest).await?
        }
        Subject::Pilot(_) => false,
    };
    if theirs {
        return Ok(());
    }
    let missing = match subject {
        Subject::Job { .. } => "a job's token has the permission for that job's sandboxes alone",
        _ => "for others' sandboxes the property JobAdministrator of their VO is missing",
    };
    Err(Problem::forbidden(format!("the sandbox is {}'s of VO {}: {missing}", name.user, name.vo)))
}

/// A sandbox that is here, and that the caller may have.
async fn stored(app: &Shared, subject: &Subject, pfn: &str) -> Result<SandboxName, Problem> {
    let name = named(pfn)?;
    check_owner(app, subject, &name).await?;
    match settle(app, &name).await? {
        true => Ok(name),
        false => Err(Problem::bad_request("Sandbox not found")),
    }
}

/// A link by which a sandbox can be downloaded without a token, for five minutes.
#[utoipa::path(get, path = "/api/jobs/sandbox", tag = "jobs", params(Which),
    responses((status = 200, body = Object), (status = 403, body = Problem)))]
async fn link(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let name = stored(&app, &subject, &which.pfn).await?;
    let url = match app.blobs.link(&name.digest, VALID).await? {
        Some(url) => url,
        None => {
            let grant = Grant::of(&app, "download", &name, 0)?;
            format!("{}/api/jobs/sandbox/file?grant={grant}", app.lifecycle.url)
        }
    };
    Ok(Json(json!({"url": url, "expires_in": VALID.as_secs()})))
}

/// What a link stands for.
#[derive(Debug, Deserialize, IntoParams)]
struct Linked {
    /// As the link has it.
    grant: String,
}

/// A sandbox, by a link.
#[utoipa::path(get, path = "/api/jobs/sandbox/file", tag = "jobs", params(Linked),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 403, body = Problem)))]
async fn file(
    State(app): State<Shared>,
    Query(linked): Query<Linked>,
) -> Result<impl IntoResponse, Problem> {
    let (name, _) = Grant::check(&app, "download", &linked.grant)?;
    let content = app.blobs.get(&name.digest).await?;
    let content = content.ok_or_else(|| Problem::not_found("Sandbox not found"))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content))
}

fn names(all: &[(SandboxKind, String)], kind: SandboxKind) -> Vec<&str> {
    all.iter().filter(|(own, _)| *own == kind).map(|(_, name)| name.as_str()).collect()
}

async fn own(app: &Shared, subject: &Subject, id: i64) -> Result<JobId, Problem> {
    Ok(their_job(app, subject, id).await?.id)
}

/// Sandboxes of a job.
#[utoipa::path(get, path = "/api/jobs/{id}/sandbox", tag = "jobs", responses((status = 200, body = Object)))]
async fn of_job(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Value>, Problem> {
    let job = own(&app, &subject, id).await?;
    let all = app.lifecycle.store.job_sandboxes(job).await?;
    let of = |kind| names(&all, kind);
    Ok(Json(json!({"Input": of(SandboxKind::Input), "Output": of(SandboxKind::Output)})))
}

fn kind_of(text: &str) -> Result<SandboxKind, Problem> {
    match text {
        "input" => Ok(SandboxKind::Input),
        "output" => Ok(SandboxKind::Output),
        other => Err(unprocessable(format!("`{other}`: write input or output"))),
    }
}

/// Sandboxes of a job: `input` or `output`.
#[utoipa::path(get, path = "/api/jobs/{id}/sandbox/{kind}", tag = "jobs", responses((status = 200, body = Vec<String>)))]
async fn of_kind(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((id, kind)): Path<(i64, String)>,
) -> Result<Json<Value>, Problem> {
    let kind = kind_of(&kind)?;
    let job = own(&app, &subject, id).await?;
    Ok(Json(json!(names(&app.lifecycle.store.job_sandboxes(job).await?, kind))))
}

/// Gives a job the sandbox that it leaves: `output`.
#[utoipa::path(patch, path = "/api/jobs/{id}/sandbox/{kind}", tag = "jobs", request_body = String,
    responses((status = 200), (status = 400, body = Problem)))]
async fn assign(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path((id, kind)): Path<(i64, String)>,
    body: String,
) -> Result<Json<Value>, Problem> {
    if kind_of(&kind)? == SandboxKind::Input {
        let text = "input sandboxes are given to a job by its description, when it is submitted";
        return Err(unprocessable(text.to_owned()));
    }
    let job = own(&app, &subject, id).await?;
    // DiracX's client announces JSON and sends the name as it is.
    let pfn = serde_json::from_str(&body).unwrap_or(body);
    let name = stored(&app, &subject, &pfn).await?;
    match app.lifecycle.store.assign_sandbox(job, &name).await? {
        true => Ok(Json(Value::Null)),
        false => Err(Problem::bad_request("Sandbox already assigned")),
    }
}

/// Takes its sandboxes away from a job.
#[utoipa::path(delete, path = "/api/jobs/{id}/sandbox", tag = "jobs", responses((status = 200)))]
async fn unassign(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(id): Path<i64>,
) -> Result<Json<Value>, Problem> {
    let job = own(&app, &subject, id).await?;
    app.lifecycle.store.unassign_sandboxes(&[job]).await?;
    Ok(Json(Value::Null))
}

/// Which jobs.
#[derive(Debug, Deserialize, ToSchema)]
struct Jobs {
    /// Their numbers.
    job_ids: Vec<i64>,
}

/// Takes their sandboxes away from jobs.
#[utoipa::path(post, path = "/api/jobs/sandbox/unassign", tag = "jobs", request_body = Jobs, responses((status = 204)))]
async fn unassign_all(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    bytes: Bytes,
) -> Result<StatusCode, Problem> {
    let jobs: Jobs = read(&bytes)?;
    let found = theirs(&app, &subject, jobs.job_ids.iter().copied()).await?;
    let ids: Vec<JobId> = found.values().map(|job| job.id).collect();
    app.lifecycle.store.unassign_sandboxes(&ids).await?;
    Ok(StatusCode::NO_CONTENT)
}
