//! What makes a form or a link work without a token.

use super::VALID;
use crate::{Shared, problem::Problem};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{AttemptNumber, JobId},
    sandbox::SandboxName,
};

/// Bytes of a grant.
pub(super) const MAX_GRANT: u64 = 4096;

/// What may be done with a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Use {
    /// A person uploads. Servers that know no other uploads read this, and refuse the others.
    Upload,
    /// A payload does, for its job.
    Payload(JobId, AttemptNumber),
    /// Somebody downloads.
    Download,
}

impl Use {
    /// The job whose payload uploads, if one does.
    pub(super) fn payload(self) -> Option<JobId> {
        match self {
            Self::Payload(job, _) => Some(job),
            Self::Upload | Self::Download => None,
        }
    }
}

/// What a form or a link stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct Grant {
    #[serde(rename = "sandbox_grant")]
    pub what: Use,
    name: String,
    /// Bytes, of what is to be uploaded.
    pub size: u64,
    exp: i64,
}

impl Grant {
    /// One for a sandbox, of so many bytes where it is to be uploaded.
    pub(super) fn give(
        app: &Shared,
        what: Use,
        name: &SandboxName,
        size: u64,
    ) -> Result<String, Problem> {
        let exp = app.lifecycle.now().plus(VALID).0 / 1000;
        app.keys
            .sign(&Self { what, name: name.to_string(), size, exp })
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    /// Reads one, and for which sandbox it is.
    pub(super) fn read(app: &Shared, text: &str) -> Result<(SandboxName, Self), Problem> {
        let grant: Self =
            app.keys.verify(text).ok_or_else(|| Problem::forbidden("the grant is not valid"))?;
        if grant.exp * 1000 < app.lifecycle.now().0 {
            return Err(Problem::forbidden("the grant is too old"));
        }
        let name =
            grant.name.parse().map_err(|_| Problem::forbidden("the grant names no sandbox"))?;
        Ok((name, grant))
    }
}

/// What is said of a grant for something else.
pub(super) fn misused() -> Problem {
    Problem::forbidden("the grant is for something else")
}
