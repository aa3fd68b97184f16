//! What makes a form or a link work without a token.

use super::VALID;
use crate::{Shared, problem::Problem};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use spinor_model::{id::JobId, sandbox::SandboxName};

/// Bytes of a grant.
pub(super) const MAX_GRANT: u64 = 4096;

/// What a form or a link stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct Grant {
    /// `upload` or `download`.
    sandbox_grant: String,
    name: String,
    /// Bytes, of what is to be uploaded.
    pub size: u64,
    /// The job whose payload uploads.
    #[serde(default)]
    pub payload: Option<JobId>,
    exp: i64,
}

impl Grant {
    fn signed(&self, app: &Shared) -> Result<String, Problem> {
        app.keys
            .sign(self)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    fn new(app: &Shared, what: &str, name: &SandboxName) -> Self {
        let exp = app.lifecycle.now().plus(VALID).0 / 1000;
        let (sandbox_grant, name) = (what.to_owned(), name.to_string());
        Self { sandbox_grant, name, size: 0, payload: None, exp }
    }

    /// One to download with.
    pub(super) fn download(app: &Shared, name: &SandboxName) -> Result<String, Problem> {
        Self::new(app, "download", name).signed(app)
    }

    /// One to upload so many bytes with, for a payload or a person.
    pub(super) fn upload(
        app: &Shared,
        name: &SandboxName,
        size: u64,
        payload: Option<JobId>,
    ) -> Result<String, Problem> {
        Self { size, payload, ..Self::new(app, "upload", name) }.signed(app)
    }

    /// Reads one that is good for `what`, and for which sandbox.
    pub(super) fn read(
        app: &Shared,
        what: &str,
        text: &str,
    ) -> Result<(SandboxName, Self), Problem> {
        let grant: Self =
            app.keys.verify(text).ok_or_else(|| Problem::forbidden("the grant is not valid"))?;
        if grant.sandbox_grant != what || grant.exp * 1000 < app.lifecycle.now().0 {
            return Err(Problem::forbidden("the grant is for something else, or too old"));
        }
        let name =
            grant.name.parse().map_err(|_| Problem::forbidden("the grant names no sandbox"))?;
        Ok((name, grant))
    }
}
