//! How sandboxes come in: by a form, of the object store or of this server. What is sent to the store is taken on
//! when it is named: a payload's by the payload alone, which gives it to its job.

use super::{
    VALID,
    grant::{Grant, MAX_GRANT, Use, misused},
    is_jobs,
};
use crate::{
    Guarded, Shared,
    auth::member,
    dirac::query::{read, unprocessable},
    problem::Problem,
    sandboxes::{check_quota, keep},
    speakers::their_job,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{DefaultBodyLimit, Multipart, State, multipart::Field},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{
    id::{Digest, GroupName, JobId, UserName, VoName},
    sandbox::{SandboxFormat, SandboxName},
};
use spinor_store::{Form, NewSandbox};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let upload =
        OpenApiRouter::new().routes(routes!(upload)).layer(DefaultBodyLimit::max(MAX_FORM));
    guarded.route(Permission::WriteSandboxes, routes!(initiate)).merge(upload)
}

/// Bytes of a form: a VO's `limits.max_sandbox_mb` counts up to this.
const MAX_FORM: usize = 256 << 20;

/// Files that are taken at a time, of people and of payloads: each is held in memory.
static PEOPLES: Semaphore = Semaphore::const_new(4);
static PAYLOADS: Semaphore = Semaphore::const_new(2);

/// Payloads keep no people waiting.
fn turn(payload: Option<JobId>) -> &'static Semaphore {
    if payload.is_some() { &PAYLOADS } else { &PEOPLES }
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
    let (vo, group, user, what) = sender(&app, &subject).await?;
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
    let limit = app.lifecycle.document(&vo)?.limits.max_sandbox_mb << 20;
    if info.size > limit {
        let text = format!("Sandbox too large, maximum allowed is {limit} bytes");
        return Err(Problem::bad_request(text));
    }
    let name = SandboxName { vo, group, user, digest, format };
    let here = match &subject {
        Subject::Job { .. } => is_jobs(&app, &subject, &name).await?,
        _ => app.lifecycle.store.has_sandbox(&name.vo, Some(&name.user), digest).await?,
    };
    if here {
        // It is wanted again: its days begin anew.
        app.lifecycle.store.add_sandbox(new(&name, info.size), app.lifecycle.now()).await?;
        return Ok(Json(json!({"pfn": name.to_string(), "url": null, "fields": {}})));
    }
    check_quota(&app, &name.vo, info.size).await?;
    let ticket = ticket(&name, what.payload());
    if let Some(Form { url, fields }) =
        app.blobs.form(&ticket, info.size, app.lifecycle.now(), VALID).await?
    {
        return Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})));
    }
    let grant = Grant::give(&app, what, &name, info.size)?;
    let url = format!("{}/api/jobs/sandbox/upload", app.lifecycle.url);
    let fields = json!({"key": name.to_string(), "grant": grant});
    Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})))
}

/// In whose name a caller uploads.
async fn sender(
    app: &Shared,
    subject: &Subject,
) -> Result<(VoName, GroupName, UserName, Use), Problem> {
    if let Subject::Job { job, .. } = subject {
        let job = their_job(app, subject, job.0).await?;
        return Ok((job.vo, job.group, job.owner, Use::Payload(job.id, job.attempt)));
    }
    let member = member(subject)?;
    Ok((member.vo.clone(), member.group.clone(), member.user.clone(), Use::Upload))
}

fn new(name: &SandboxName, size: u64) -> NewSandbox {
    let SandboxName { vo, group, user, digest, format } = name.clone();
    NewSandbox { vo, owner: Some(user), group: Some(group), digest, size, format }
}

/// Under what a sandbox waits until it is named, by a person or by the payload that sent it: a payload that
/// knows what another sandbox is called has not brought it.
fn ticket(name: &SandboxName, payload: Option<JobId>) -> Digest {
    let sender = payload.map_or_else(String::new, |job| format!(" of job {job}"));
    Digest::of(format!("{name}{sender}").as_bytes())
}

/// Takes a person's sandbox on that was sent to the object store, once its content is seen to be what its
/// name says; whether it is here.
pub(in crate::dirac) async fn settle(app: &Shared, name: &SandboxName) -> Result<bool, Problem> {
    if app.lifecycle.store.has_sandbox(&name.vo, Some(&name.user), name.digest).await? {
        return Ok(true);
    }
    take(app, name, None).await
}

/// Takes on what was sent; whether it was.
pub(super) async fn take(
    app: &Shared,
    name: &SandboxName,
    payload: Option<JobId>,
) -> Result<bool, Problem> {
    // What is sent to this server is taken on as it comes: nothing waits, nor is waited for.
    if !app.blobs.takes_forms() {
        return Ok(false);
    }
    let limit = app.lifecycle.document(&name.vo)?.limits.max_sandbox_mb << 20;
    let _turn = turn(payload).acquire().await.map_err(broken)?;
    let Some(content) = app.blobs.sent(&ticket(name, payload), limit).await? else {
        return Ok(false);
    };
    let checked = check_content(name, &content);
    if checked.is_ok() {
        keep(app, new(name, content.len() as u64), &content).await?;
    }
    // A payload's is its job's before it is taken away.
    if checked.is_err() || payload.is_none() {
        forget(app, name, payload).await?;
    }
    checked.map(|()| true)
}

/// What was sent is no longer asked for.
pub(super) async fn forget(
    app: &Shared,
    name: &SandboxName,
    payload: Option<JobId>,
) -> Result<(), Problem> {
    Ok(app.blobs.remove_sent(&ticket(name, payload)).await?)
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
                let (name, grant) = Grant::read(&app, &String::from_utf8_lossy(&text))?;
                if grant.what == Use::Download {
                    return Err(misused());
                }
                granted = Some((name, grant));
            }
            "file" => {
                let missing = || Problem::forbidden("no grant before the file");
                let (name, grant) = granted.take().ok_or_else(missing)?;
                let _turn = turn(grant.what.payload()).acquire().await.map_err(broken)?;
                let content = tokio::time::timeout(VALID, content(field, grant.size)).await;
                let content = content.map_err(broken)??;
                check_content(&name, &content)?;
                store(&app, &grant, &name, &content).await?;
                return Ok(StatusCode::NO_CONTENT);
            }
            _ => {}
        }
    }
    Err(Problem::bad_request("the form has no file"))
}

/// Takes on what was seen to be what its name says; what a payload sends, its job has.
async fn store(
    app: &Shared,
    grant: &Grant,
    name: &SandboxName,
    content: &[u8],
) -> Result<(), Problem> {
    let new = new(name, content.len() as u64);
    match grant.what {
        Use::Download => Err(misused()),
        Use::Upload => keep(app, new, content).await,
        Use::Payload(job, attempt) => {
            let (vo, owner) = (name.vo.clone(), name.user.clone());
            let payload = Subject::Job { job, attempt, vo, owner };
            let job = their_job(app, &payload, job.0).await?;
            keep(app, new, content).await?;
            app.lifecycle.store.assign_sandbox(job.id, job.attempt, name).await?;
            Ok(())
        }
    }
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
