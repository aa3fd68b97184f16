//! A payload's tokens, in files of its directory: its own, which the server renews with each heartbeat, and
//! the community's, which it shows to storage: fetched as the job starts, renewed while it runs.

use crate::client::{Client, ClientError};
use spinor_model::{id::JobId, protocol::DataToken};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// File of a payload's own token.
pub const JOB: &str = ".job-token";
/// File of the community's.
pub const DATA: &str = ".data-token";

/// Renewals are no more often than this.
const OFTEN: Duration = Duration::from_secs(1);

/// Puts a payload's token where it looks for it.
pub fn write(file: &Path, token: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let draft = file.with_extension("draft");
    // The payload may have put a link there: what is made anew is followed nowhere.
    drop(std::fs::remove_file(&draft));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&draft)?.write_all(token.as_bytes())?;
    std::fs::rename(draft, file)
}

/// Puts a token where the payload looks for it; when to renew it.
pub async fn fetch(
    client: &Client,
    job: JobId,
    token: &str,
    directory: &Path,
) -> Result<Duration, ClientError> {
    let DataToken { access_token, expires_in } = client.data_token(job, token).await?;
    write(&directory.join(DATA), &access_token)
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
        let own = std::fs::read_to_string(directory.join(JOB)).unwrap_or_default();
        pause = match fetch(&client, job, &own, &directory).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%job, %error, "the data token is not renewed");
                (pause / 4).max(OFTEN)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_a_payload_put_there_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (other, file) = (directory.path().join("other"), directory.path().join(JOB));
        std::fs::write(&other, "as it was").unwrap();
        for _ in 0..2 {
            std::os::unix::fs::symlink(&other, file.with_extension("draft")).unwrap();
            write(&file, "a token").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a token");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "as it was");
    }
}
