//! Sandboxes: uploaded and downloaded by digest.

use crate::{Guarded, Shared, problem::Problem, speakers::their_job};
use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use spinor_identity::{
    access::{Permission, administers_jobs},
    subject::Subject,
};
use spinor_model::{
    id::{Digest, JobId, UserName, VoName},
    sandbox::{SandboxFormat, SandboxName},
};
use spinor_store::NewSandbox;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(guarded.route(Permission::WriteSandboxes, routes!(upload)))
        .merge(guarded.route(Permission::ReadSandboxes, routes!(download)))
}

fn digest_of(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("{error}")))
}

/// Who uploads, and where to.
fn uploader(subject: &Subject) -> Result<(VoName, Option<UserName>), Problem> {
    match subject {
        Subject::Member(member) => Ok((member.vo.clone(), Some(member.user.clone()))),
        Subject::Pilot(identity) => Ok((identity.vo.clone(), None)),
        Subject::Job { .. } => Err(Problem::forbidden(
            "a payload has the permission WriteSandboxes for what it sends by a form of POST /api/jobs/sandbox",
        )),
        Subject::Operator { .. } => {
            let permission = Permission::WriteSandboxes;
            Err(Problem::forbidden(format!("{subject} lacks the permission {permission} in a VO")))
        }
    }
}

/// Whether so many bytes more are within what a VO's people may store. What jobs leave counts, and is
/// taken all the same.
pub(crate) async fn check_quota(app: &Shared, vo: &VoName, size: u64) -> Result<(), Problem> {
    let Some(quota_mb) = app.lifecycle.document(vo)?.limits.sandbox_quota_mb else { return Ok(()) };
    let used = app.lifecycle.store.sandbox_bytes(vo).await?;
    if used.saturating_add(size) <= quota_mb << 20 {
        return Ok(());
    }
    let text = format!(
        "VO {vo} has sandboxes of {} MiB, and may have {quota_mb} (`limits.sandbox_quota_mb`): those that no job has are forgotten in time, so delete jobs that are done with",
        used >> 20
    );
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text))
}

/// Keeps a sandbox that was seen to be what it says.
pub(crate) async fn keep(app: &Shared, new: NewSandbox, content: &[u8]) -> Result<(), Problem> {
    if new.owner.is_some() {
        check_quota(app, &new.vo, new.size).await?;
    }
    app.blobs.put(content).await?;
    Ok(app.lifecycle.store.add_sandbox(new, app.lifecycle.now()).await?)
}

/// Uploads a sandbox under its SHA-256: a tar archive, compressed by zstd, bzip2 or gzip.
#[utoipa::path(put, path = "/api/sandboxes/{digest}", tag = "sandboxes", request_body = Vec<u8>,
    responses((status = 204), (status = 413, body = Problem)))]
async fn upload(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(digest): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let digest = digest_of(&digest)?;
    let (vo, owner) = uploader(&subject)?;
    let limit_mb = app.lifecycle.document(&vo)?.limits.max_sandbox_mb;
    let limit = usize::try_from(limit_mb << 20).unwrap_or(usize::MAX);
    let content = axum::body::to_bytes(body, limit).await.map_err(|_| {
        let text = format!(
            "the sandbox is over the VO's limit of {limit_mb} MiB (`limits.max_sandbox_mb`)"
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    })?;
    let found = Digest::of(&content);
    if found != digest {
        let text = format!("the content's SHA-256 is {found}, not {digest}: it arrived damaged");
        return Err(Problem::bad_request(text));
    }
    let format = SandboxFormat::of(&content).ok_or_else(|| {
        Problem::bad_request(
            "the content is no sandbox: a tar archive, compressed by zstd, bzip2 or gzip",
        )
    })?;
    let group = match &subject {
        Subject::Member(member) => Some(member.group.clone()),
        _ => None,
    };
    let size = content.len() as u64;
    let new = NewSandbox { vo, owner, group, digest, size, format };
    keep(&app, new, &content).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a payload that runs was given with its job, and what was left of it so far.
pub(crate) async fn sandboxes_of(
    app: &Shared,
    subject: &Subject,
    job: JobId,
) -> Result<Vec<SandboxName>, Problem> {
    let job = their_job(app, subject, job.0).await?;
    let all = app.lifecycle.store.job_sandboxes(job.id).await?;
    Ok(all.iter().filter_map(|(_, name)| name.parse().ok()).collect())
}

/// Downloads a sandbox that one has uploaded; pilots, any of their VO; payloads, those of their job.
#[utoipa::path(get, path = "/api/sandboxes/{digest}", tag = "sandboxes",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn download(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(digest): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let digest = digest_of(&digest)?;
    let none = || Problem::not_found(format!("there is no sandbox {digest} that you may have"));
    if let Subject::Job { job, .. } = &subject {
        let own = sandboxes_of(&app, &subject, *job).await?;
        if own.iter().all(|name| name.digest != digest) {
            return Err(none());
        }
    } else if let Some(vo) = subject.vo() {
        let owner = match &subject {
            Subject::Member(member) if !administers_jobs(&subject) => Some(&member.user),
            _ => None,
        };
        if !app.lifecycle.store.has_sandbox(vo, owner, digest).await? {
            return Err(none());
        }
    }
    let content = app.blobs.get(&digest).await?.ok_or_else(none)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content))
}
