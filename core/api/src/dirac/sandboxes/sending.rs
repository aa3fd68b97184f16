//! How sandboxes come in: by a form, of the object store or of this server. A person's is taken on when it is
//! named to a job; a payload's, when the payload gives it to its job.

use super::{
    VALID,
    grant::{Grant, MAX_GRANT},
};
use crate::{
    Guarded, Shared,
    auth::member,
    dirac::query::{read, unprocessable},
    problem::Problem,
    sandboxes::{check_quota, has_sandbox, keep},
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

/// Forms that are taken at a time: each is held in memory.
static FORMS: Semaphore = Semaphore::const_new(4);

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
    let (vo, group, user, payload) = sender(&app, &subject).await?;
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
    let here = match payload {
        None => app.lifecycle.store.has_sandbox(&vo, Some(&user), digest).await?,
        Some(job) => has_sandbox(&app, &subject, job, &digest).await?,
    };
    let name = SandboxName { vo, group, user, digest, format };
    if here {
        // It is wanted again: its days begin anew.
        app.lifecycle.store.add_sandbox(new(&name, info.size), app.lifecycle.now()).await?;
        return Ok(Json(json!({"pfn": name.to_string(), "url": null, "fields": {}})));
    }
    check_quota(&app, &name.vo, info.size).await?;
    let ticket = ticket(&name, payload);
    if let Some(Form { url, fields }) =
        app.blobs.form(&ticket, info.size, app.lifecycle.now(), VALID).await?
    {
        return Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})));
    }
    let grant = Grant::upload(&app, &name, info.size, payload)?;
    let url = format!("{}/api/jobs/sandbox/upload", app.lifecycle.url);
    let fields = json!({"key": name.to_string(), "grant": grant});
    Ok(Json(json!({"pfn": name.to_string(), "url": url, "fields": fields})))
}

/// In whose name a caller uploads, and for which job if it is a payload.
async fn sender(
    app: &Shared,
    subject: &Subject,
) -> Result<(VoName, GroupName, UserName, Option<JobId>), Problem> {
    if let Subject::Job { job, .. } = subject {
        let job = their_job(app, subject, job.0).await?;
        return Ok((job.vo, job.group, job.owner, Some(job.id)));
    }
    let member = member(subject)?;
    Ok((member.vo.clone(), member.group.clone(), member.user.clone(), None))
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
    let ticket = ticket(name, payload);
    let limit = app.lifecycle.document(&name.vo)?.limits.max_sandbox_mb << 20;
    let Some(content) = app.blobs.sent(&ticket, limit).await? else { return Ok(false) };
    let checked = check_content(name, &content);
    if checked.is_ok() {
        keep(app, new(name, content.len() as u64), &content).await?;
    }
    // A payload's stays for a while: it is asked for again where what follows fails.
    if checked.is_err() || payload.is_none() {
        app.blobs.remove_sent(&ticket).await?;
    }
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
                granted = Some(Grant::read(&app, "upload", &String::from_utf8_lossy(&text))?);
            }
            "file" => {
                let missing = || Problem::forbidden("no grant before the file");
                let (name, grant) = granted.take().ok_or_else(missing)?;
                let _turn = FORMS.acquire().await.map_err(broken)?;
                let content = tokio::time::timeout(VALID, content(field, grant.size)).await;
                let content = content.map_err(broken)??;
                check_content(&name, &content)?;
                match grant.payload {
                    None => keep(&app, new(&name, content.len() as u64), &content).await?,
                    sent => app.blobs.keep_sent(&ticket(&name, sent), content).await?,
                }
                return Ok(StatusCode::NO_CONTENT);
            }
            _ => {}
        }
    }
    Err(Problem::bad_request("the form has no file"))
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
