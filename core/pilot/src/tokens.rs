//! A payload's credentials, in files of its directory: its own token, which the server renews with each
//! heartbeat, and the community's token and proxy, which it shows to storage: fetched as the job starts,
//! renewed while it runs.

use crate::client::{Client, ClientError};
use spinor_model::{id::JobId, protocol::Assignment};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// File of a payload's own token.
pub const JOB: &str = ".job-token";

/// A credential of the community's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Communal {
    /// A token.
    Token,
    /// An X.509 proxy.
    Proxy,
}

impl Communal {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Token, Self::Proxy];

    /// Those that a job has.
    pub fn of(job: &Assignment) -> impl Iterator<Item = Self> {
        let has = [(job.data_token, Self::Token), (job.proxy, Self::Proxy)];
        has.into_iter().filter_map(|(has, what)| has.then_some(what))
    }

    /// Its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Token => ".data-token",
            Self::Proxy => ".proxy",
        }
    }

    /// The variable that tells where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Token => "BEARER_TOKEN_FILE",
            Self::Proxy => "X509_USER_PROXY",
        }
    }

    /// Gets it, and the seconds that it is good for.
    async fn get(
        self,
        client: &Client,
        job: JobId,
        token: &str,
    ) -> Result<(String, u64), ClientError> {
        Ok(match self {
            Self::Token => {
                let token = client.data_token(job, token).await?;
                (token.access_token, token.expires_in)
            }
            Self::Proxy => {
                let proxy = client.proxy(job, token).await?;
                (proxy.pem, proxy.expires_in)
            }
        })
    }
}

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

/// When to renew what.
pub type Due = Vec<(Communal, Duration)>;

/// Puts the community's credentials where the payload looks for them; when to renew each.
pub async fn fetch_all(
    client: &Client,
    job: &Assignment,
    directory: &Path,
) -> Result<Due, ClientError> {
    let mut due = Vec::new();
    for what in Communal::of(job) {
        due.push((what, fetch(what, client, job.job, &job.token, directory).await?));
    }
    Ok(due)
}

async fn fetch(
    what: Communal,
    client: &Client,
    job: JobId,
    token: &str,
    directory: &Path,
) -> Result<Duration, ClientError> {
    let (credential, expires_in) = what.get(client, job, token).await?;
    write(&directory.join(what.file()), &credential)
        .map_err(|error| ClientError::Refused(error.to_string()))?;
    // By then the server has, or gets, one with more than half of its life before it.
    Ok(Duration::from_secs(expires_in).mul_f64(0.6).max(OFTEN))
}

/// Renews a payload's credentials until it is dropped.
pub struct Renewal(Vec<tokio::task::JoinHandle<()>>);

impl Renewal {
    /// Begins with each when it is due.
    pub fn begin(client: &Client, job: JobId, directory: &Path, due: Due) -> Self {
        let begin = |(what, first)| {
            let (client, directory) = (client.clone(), directory.to_owned());
            tokio::spawn(renew(what, client, job, directory, first))
        };
        Self(due.into_iter().map(begin).collect())
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn renew(
    what: Communal,
    client: Client,
    job: JobId,
    directory: PathBuf,
    mut pause: Duration,
) {
    loop {
        tokio::time::sleep(pause).await;
        let own = std::fs::read_to_string(directory.join(JOB)).unwrap_or_default();
        pause = match fetch(what, &client, job, &own, &directory).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%job, ?what, %error, "not renewed");
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
