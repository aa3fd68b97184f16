//! The pilot's side of the protocol: every request is repeated until the server has answered.

use crate::{
    channel::{Channel, Request},
    configuration::Configuration,
};
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use spinor_model::{
    id::{Digest, JobId},
    plan::AttemptResult,
    protocol::{
        DataToken, Heartbeat, HeartbeatAnswer, Match, Matched, PROTOCOL, PayloadProxy, ResultTaken,
        Start, Started,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// No server answered for too long.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {server} for {} s: {why}", .patience.as_secs())]
pub struct CutOff {
    server: String,
    patience: Duration,
    why: String,
}

/// Why there is no answer to be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server will not.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server cannot be reached.
    #[error(transparent)]
    CutOff(#[from] CutOff),
}

/// Requests to a server, or to others on its database when it does not answer.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    servers: Arc<[String]>,
    /// Which of them answered last.
    current: Arc<AtomicUsize>,
    token: String,
    patience: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);
/// A sandbox may come over a slow line.
const TRANSFER: Duration = Duration::from_secs(3600);

/// A payload's credentials are asked for so long: its own token, by which they are, lives longer.
const CREDENTIALS: Duration = Duration::from_secs(10 * 60);

impl Client {
    /// Exchanges the secret for a token.
    pub async fn start(configuration: &Configuration) -> anyhow::Result<(Self, Started)> {
        let mut client = Self {
            channel: Channel::open(configuration)?,
            servers: std::iter::once(&configuration.server)
                .chain(&configuration.others)
                .cloned()
                .collect(),
            current: Arc::default(),
            token: String::new(),
            patience: Duration::from_secs(configuration.patience),
        };
        let start = Start {
            protocol: PROTOCOL,
            stamp: configuration.stamp.clone(),
            secret: configuration.secret.clone(),
            start: format!("{:032x}", rand::random::<u128>()),
            node: node(),
        };
        let started: Started = client.post("/api/pilots/start", &start).await?;
        client.token = started.token.clone();
        Ok((client, started))
    }

    /// Asks for work.
    pub async fn ask(&self, free: &Match) -> Result<Matched, ClientError> {
        self.post("/api/pilots/match", free).await
    }

    /// Tells of running jobs.
    pub async fn beat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        self.post("/api/pilots/heartbeat", heartbeat).await
    }

    /// Gets a payload's token for data, in the payload's name.
    pub async fn data_token(&self, job: JobId, token: &str) -> Result<DataToken, ClientError> {
        self.for_payload(token, format!("/api/jobs/{job}/data-token")).await
    }

    /// Gets a payload's proxy, in the payload's name.
    pub async fn proxy(&self, job: JobId, token: &str) -> Result<PayloadProxy, ClientError> {
        self.for_payload(token, format!("/api/jobs/{job}/proxy")).await
    }

    async fn for_payload<T: DeserializeOwned>(
        &self,
        token: &str,
        path: String,
    ) -> Result<T, ClientError> {
        let patience = self.patience.min(CREDENTIALS);
        let payload = Self { token: token.to_owned(), patience, ..self.clone() };
        let request = payload.request(Method::GET, path, Vec::new(), TIMEOUT);
        let answer = payload.insist(&request).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Refused(format!("unexpected answer: {error}")))
    }

    /// Brings a result.
    pub async fn finish(&self, result: &AttemptResult) -> Result<ResultTaken, ClientError> {
        self.post("/api/pilots/result", result).await
    }

    /// Says goodbye.
    pub async fn end(&self) -> Result<serde_json::Value, ClientError> {
        self.post("/api/pilots/end", &serde_json::json!({})).await
    }

    /// How long it takes to say goodbye, if anybody is there.
    pub fn goodbye(&self) -> Duration {
        match self.channel {
            Channel::Http(_) => Duration::from_secs(5),
            Channel::Spool(_) => Duration::from_secs(30),
        }
    }

    /// Fetches a sandbox.
    pub async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ClientError> {
        let path = format!("/api/sandboxes/{digest}");
        self.insist(&self.request(Method::GET, path, Vec::new(), TRANSFER)).await
    }

    /// Uploads a sandbox.
    pub async fn upload(&self, digest: &Digest, content: Vec<u8>) -> Result<(), ClientError> {
        let path = format!("/api/sandboxes/{digest}");
        self.insist(&self.request(Method::PUT, path, content, TRANSFER)).await.map(|_| ())
    }

    fn request(&self, method: Method, path: String, body: Vec<u8>, timeout: Duration) -> Request {
        Request { method, path, token: self.token.clone(), body, timeout }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Refused(error.to_string()))?;
        let request = self.request(Method::POST, path.to_owned(), body, TIMEOUT);
        let answer = self.insist(&request).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Refused(format!("{path}: unexpected answer: {error}")))
    }

    /// Repeats a request until the server has answered it, or patience ends.
    async fn insist(&self, request: &Request) -> Result<Vec<u8>, ClientError> {
        let (mut pause, asked) = (FIRST_PAUSE, Instant::now());
        loop {
            let which = self.current.load(Ordering::Relaxed);
            let server = &self.servers[which % self.servers.len()];
            let why = match self.channel.send(server, request).await {
                Ok((status, body)) if status.is_success() => return Ok(body),
                Ok((status, body))
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    return Err(ClientError::Refused(problem(status, &body)));
                }
                Ok((status, body)) => problem(status, &body),
                Err(why) => why,
            };
            if asked.elapsed() > self.patience {
                let (server, patience) = (server.clone(), self.patience);
                return Err(CutOff { server, patience, why }.into());
            }
            tracing::debug!(server, why, "no answer yet");
            self.current.store(which.wrapping_add(1), Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// What this machine calls itself.
fn node() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        // Many machines are called so.
        "localhost" | "localhost.localdomain" => String::new(),
        name => name.to_owned(),
    }
}

fn problem(status: StatusCode, body: &[u8]) -> String {
    let detail = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    format!("{status}: {}", detail.unwrap_or_default())
}
