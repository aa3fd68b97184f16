//! X.509 proxies that the server issues in VOs' names: made when they are needed, and anew half way of
//! their lives.

mod mint;
mod voms;

pub use mint::BadRobot;

use mint::{Robot, Wish};
use spinor_model::{
    id::VoName,
    policy::Proxy,
    registry::ProxySource,
    time::{Clock, Timestamp},
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
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

/// What a proxy is made of.
type Recipe = (VoName, ProxySource, bool);

#[derive(Default)]
struct Kept {
    /// The last one, and when the robot's certificate was written that it was made with.
    last: Option<(Proxy, Option<SystemTime>)>,
    /// When another one is to be made.
    renew: Timestamp,
    /// Why the last attempt came to nothing, and when.
    failed: Option<(Timestamp, String)>,
}

type Slot = Arc<tokio::sync::Mutex<Kept>>;

/// Proxies of all VOs.
#[derive(Clone)]
pub struct Proxies(Arc<Inner>);

struct Inner {
    /// Folders of the VOs' secrets.
    secrets: PathBuf,
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<Recipe, Slot>>,
}

/// With less left of its life a proxy is not given out.
const MARGIN: Duration = Duration::from_secs(300);
/// Between attempts while there is a proxy, and while there is none.
const LATER: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

impl Proxies {
    /// None yet.
    pub fn new(secrets: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { secrets, clock, slots: Mutex::default() }))
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
        let recipe = (vo.clone(), source.clone(), limited);
        let slot = {
            let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(recipe.clone()).or_default().clone()
        };
        let written = self.0.written(vo, source)?;
        let mut kept = slot.lock().await;
        let now = self.0.clock.now();
        let good = |(proxy, of): &&(Proxy, Option<SystemTime>)| {
            *of == written && proxy.expires > now.plus(MARGIN)
        };
        if let Some((proxy, _)) = kept.last.as_ref().filter(good).cloned() {
            if kept.renew <= now {
                // Whoever asks meanwhile has this one, and does not wait for VOMS.
                kept.renew = now.plus(LATER);
                tokio::spawn(self.clone().renew(recipe, slot.clone(), written));
            }
            return Ok(proxy);
        }
        if let Some((_, why)) = kept.failed.as_ref().filter(|(at, _)| now.since(*at) < SOON) {
            return Err(ProxyError::Again(why.clone()));
        }
        match self.0.make(&recipe).await {
            Ok(proxy) => Ok(self.0.keep(&mut kept, proxy, written)),
            Err(error) => {
                tracing::warn!(%vo, certificate = source.certificate, %error, "no proxy");
                kept.failed = Some((now, error.to_string()));
                Err(error)
            }
        }
    }

    async fn renew(self, recipe: Recipe, slot: Slot, written: Option<SystemTime>) {
        let (vo, source, _) = &recipe;
        match self.0.make(&recipe).await {
            Ok(proxy) => drop(self.0.keep(&mut *slot.lock().await, proxy, written)),
            Err(error) => {
                tracing::warn!(%vo, certificate = source.certificate, %error, "a proxy is not renewed");
            }
        }
    }
}

impl Inner {
    /// When the robot's certificate was written: one that was taken away is used no more.
    fn written(&self, vo: &VoName, source: &ProxySource) -> Result<Option<SystemTime>, ProxyError> {
        let file = self.file(vo, &source.certificate)?;
        let seen = file.metadata().map_err(|_| missing(vo, &source.certificate))?;
        Ok(seen.modified().ok())
    }

    /// A file among the VO's secrets.
    fn file(&self, vo: &VoName, name: &str) -> Result<PathBuf, ProxyError> {
        match name.contains(['/', '\0']) || name.starts_with('.') {
            true => Err(missing(vo, name)),
            false => Ok(self.secrets.join(vo.as_str()).join(name)),
        }
    }

    fn read(&self, vo: &VoName, name: &str) -> Result<Vec<u8>, ProxyError> {
        std::fs::read(self.file(vo, name)?).map_err(|_| missing(vo, name))
    }

    fn keep(&self, kept: &mut Kept, proxy: Proxy, written: Option<SystemTime>) -> Proxy {
        let now = self.clock.now();
        tracing::info!(until = %proxy.expires, "a proxy");
        let renew = now.plus(proxy.expires.since(now) / 2);
        *kept = Kept { last: Some((proxy.clone(), written)), renew, failed: None };
        proxy
    }

    async fn make(&self, (vo, source, limited): &Recipe) -> Result<Proxy, ProxyError> {
        let pem = self.read(vo, &source.certificate)?;
        let bad = |why| ProxyError::Robot { file: source.certificate.clone(), why };
        let robot = Robot::read(&pem).map_err(bad)?;
        let authorities =
            source.authorities.as_ref().map(|file| self.read(vo, file)).transpose()?;
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
        Ok(Proxy { pem: minted.pem.into(), expires })
    }
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
