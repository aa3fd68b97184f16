//! The community's token, which a payload shows to storage: fetched as the job starts, renewed while it
//! runs.

use crate::{
    client::{Client, ClientError},
    payload::{TOKEN, write_token},
};
use spinor_model::{id::JobId, protocol::DataToken};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// File of the token, in a payload's directory.
pub const FILE: &str = ".data-token";

/// Renewals are no more often than this.
const OFTEN: Duration = Duration::from_secs(1);

/// Puts a token where the payload looks for it; when to renew it.
pub async fn fetch(
    client: &Client,
    job: JobId,
    token: &str,
    directory: &Path,
) -> Result<Duration, ClientError> {
    let DataToken { access_token, expires_in } = client.data_token(job, token).await?;
    write_token(&directory.join(FILE), &access_token)
        .map_err(|error| ClientError::Refused(error.to_string()))?;
    // By then the server has, or gets, one with more than half of its life before it.
    Ok(Duration::from_secs(expires_in).mul_f64(0.6).max(OFTEN))
}

/// Renews a payload's token until it is dropped.
pub struct Renewal(Option<tokio::task::JoinHandle<()>>);

impl Renewal {
    /// Begins after `first`; never, if there is no token.
    pub fn begin(client: &Client, job: JobId, directory: &Path, first: Option<Duration>) -> Self {
        let (client, directory) = (client.clone(), directory.to_owned());
        Self(first.map(|first| tokio::spawn(renew(client, job, directory, first))))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn renew(client: Client, job: JobId, directory: PathBuf, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let own = std::fs::read_to_string(directory.join(TOKEN)).unwrap_or_default();
        pause = match fetch(&client, job, &own, &directory).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%job, %error, "the data token is not renewed");
                (pause / 4).max(OFTEN)
            }
        };
    }
}
