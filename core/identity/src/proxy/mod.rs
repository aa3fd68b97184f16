//! X.509 proxies that the server issues in VOs' names: made when they are needed, and anew half way of
//! their lives.

mod mint;
mod voms;

pub use mint::BadRobot;

use crate::kept::{Kept, Source};
use async_trait::async_trait;
use mint::{Robot, Wish};
use spinor_model::{
    id::VoName,
    policy::Proxy,
    registry::ProxySource,
    time::{Clock, Timestamp},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use voms::{Attributes, Question};

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A file is missing.
    #[error("`{file}` is not among VO {vo}'s secrets, or not readable: the operator puts it there")]
    Missing {
        /// Which.
        file: String,
        /// Whose.
        vo: VoName,
    },
    /// The robot's certificate is of no use.
    #[error("`{file}` among the VO's secrets {why}")]
    Robot {
        /// Which.
        file: String,
        /// Why.
        why: BadRobot,
    },
    /// No VOMS server vouched.
    #[error("no VOMS server vouches for it: {0}")]
    Voms(String),
    /// It was tried just now.
    #[error("{0}")]
    Again(String),
}

/// What a proxy is made of: whose, how, whether it is limited, and when the robot's certificate was written.
type Recipe = (VoName, ProxySource, bool, Option<SystemTime>);

/// Proxies of all VOs.
pub struct Proxies {
    kept: Kept<Mint>,
    secrets: Secrets,
}

/// Folders of the VOs' secrets.
#[derive(Clone)]
struct Secrets(PathBuf);

/// Where proxies come from.
struct Mint(Secrets);

impl Proxies {
    /// None yet.
    pub fn new(secrets: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let secrets = Secrets(secrets);
        Self { kept: Kept::new(Mint(secrets.clone()), clock), secrets }
    }

    /// A proxy with more than half of its life before it, or, while another one cannot be had or is being
    /// made, the last one; `limited` ones send no jobs.
    ///
    /// # Errors
    /// If there is no certificate to issue it with, or no VOMS server vouches for it.
    pub async fn get(
        &self,
        vo: &VoName,
        source: &ProxySource,
        limited: bool,
    ) -> Result<Proxy, ProxyError> {
        let written = self.secrets.written(vo, &source.certificate)?;
        let recipe = (vo.clone(), source.clone(), limited, written);
        let (pem, expires) = self.kept.get(recipe).await?;
        Ok(Proxy { pem, expires })
    }
}

#[async_trait]
impl Source for Mint {
    type Key = Recipe;
    type Made = Arc<str>;
    type Error = ProxyError;
    const MARGIN: Duration = Duration::from_secs(300);

    async fn make(&self, recipe: &Recipe) -> Result<(Arc<str>, Timestamp), ProxyError> {
        let made = make(&self.0, recipe).await;
        let (vo, certificate) = (&recipe.0, &recipe.1.certificate);
        match &made {
            Ok((_, until)) => tracing::info!(%vo, certificate, %until, "a proxy"),
            Err(error) => tracing::warn!(%vo, certificate, %error, "no proxy"),
        }
        made
    }

    fn again(why: String) -> ProxyError {
        ProxyError::Again(why)
    }
}

impl Secrets {
    /// When the robot's certificate was written: one that was taken away is used no more.
    fn written(&self, vo: &VoName, name: &str) -> Result<Option<SystemTime>, ProxyError> {
        let file = self.file(vo, name)?;
        let seen = file.metadata().map_err(|_| missing(vo, name))?;
        Ok(seen.modified().ok())
    }

    /// A file among the VO's secrets.
    fn file(&self, vo: &VoName, name: &str) -> Result<PathBuf, ProxyError> {
        match name.contains(['/', '\0']) || name.starts_with('.') {
            true => Err(missing(vo, name)),
            false => Ok(self.0.join(vo.as_str()).join(name)),
        }
    }

    fn read(&self, vo: &VoName, name: &str) -> Result<Vec<u8>, ProxyError> {
        std::fs::read(self.file(vo, name)?).map_err(|_| missing(vo, name))
    }
}

async fn make(
    secrets: &Secrets,
    (vo, source, limited, _): &Recipe,
) -> Result<(Arc<str>, Timestamp), ProxyError> {
    let pem = secrets.read(vo, &source.certificate)?;
    let bad = |why| ProxyError::Robot { file: source.certificate.clone(), why };
    let robot = Robot::read(&pem).map_err(bad)?;
    let authorities = source.authorities.as_ref().map(|file| secrets.read(vo, file)).transpose()?;
    let mut life = Duration::from_secs(u64::from(source.hours) * 3600);
    let (from, attributes) =
        (SystemTime::now(), vouched(source, &pem, authorities.as_deref(), life).await?);
    if let Some(attributes) = &attributes {
        // Without them it would be of no use.
        life = life.min(attributes.until.duration_since(from).unwrap_or_default());
    }
    let attributes = attributes.map(|attributes| attributes.der);
    let wish = Wish { limited: *limited, attributes, from, life };
    let minted = tokio::task::spawn_blocking(move || robot.issue(wish)).await;
    let broke = |error: tokio::task::JoinError| BadRobot::Internal(error.to_string());
    let minted = minted.map_err(|error| bad(broke(error)))?.map_err(bad)?;
    let until = minted.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires = Timestamp(i64::try_from(until.as_millis()).unwrap_or(i64::MAX));
    Ok((minted.pem.into(), expires))
}

/// What the first VOMS server that answers says; nothing if none is to be asked.
async fn vouched(
    source: &ProxySource,
    robot: &[u8],
    authorities: Option<&[u8]>,
    life: Duration,
) -> Result<Option<Attributes>, ProxyError> {
    let mut refusals = Vec::new();
    for server in &source.voms {
        let question =
            Question { server, attributes: &source.attributes, life, robot, authorities };
        match question.ask().await {
            Ok(certificate) => return Ok(Some(certificate)),
            Err(why) => refusals.push(format!("{server}: {why}")),
        }
    }
    match refusals.is_empty() {
        true => Ok(None),
        false => Err(ProxyError::Voms(refusals.join("; "))),
    }
}

fn missing(vo: &VoName, file: &str) -> ProxyError {
    ProxyError::Missing { file: file.to_owned(), vo: vo.clone() }
}
