//! X.509 proxies that the server issues in VOs' names: made when they are needed, and anew half way of
//! their lives.

mod mint;
mod voms;

use mint::{BadRobot, Robot, Wish};
use spinor_model::{
    id::VoName,
    policy::Proxy,
    registry::ProxySource,
    time::{Clock, Timestamp},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use voms::Question;

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
}

pub use mint::BadRobot as BadCertificate;

/// What a proxy is made of.
type Recipe = (VoName, ProxySource, bool);

struct Kept {
    proxy: Proxy,
    renew: Timestamp,
    /// When the robot's certificate was written.
    written: Option<SystemTime>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// Proxies of all VOs.
pub struct Proxies {
    /// Folders of the VOs' secrets.
    secrets: PathBuf,
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<Recipe, Slot>>,
}

/// With less left of its life a proxy is not given out.
const MARGIN: Duration = Duration::from_secs(300);

impl Proxies {
    /// None yet.
    pub fn new(secrets: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { secrets, clock, slots: Mutex::default() }
    }

    /// A proxy with more than half of its life before it; `limited` ones send no jobs.
    ///
    /// # Errors
    /// If there is no certificate to issue it with, or no VOMS server vouches for it.
    pub async fn get(
        &self,
        vo: &VoName,
        source: &ProxySource,
        limited: bool,
    ) -> Result<Proxy, ProxyError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry((vo.clone(), source.clone(), limited)).or_default().clone()
        };
        let mut kept = slot.lock().await;
        let now = self.clock.now();
        let folder = self.secrets.join(vo.as_str());
        let file = folder.join(&source.certificate);
        let written = file.metadata().and_then(|file| file.modified()).ok();
        let fresh = |kept: &&Kept| kept.renew > now && kept.written == written;
        if let Some(kept) = kept.as_ref().filter(fresh) {
            return Ok(kept.proxy.clone());
        }
        match self.make(vo, &folder, source, limited).await {
            Ok(proxy) => {
                tracing::info!(%vo, certificate = source.certificate, until = %proxy.expires, "a proxy");
                let renew = now.plus(proxy.expires.since(now) / 2);
                Ok(kept.insert(Kept { proxy, renew, written }).proxy.clone())
            }
            // What there is will do while VOMS is away.
            Err(error) => match kept.as_ref().filter(|k| k.proxy.expires > now.plus(MARGIN)) {
                Some(kept) => {
                    tracing::warn!(%vo, certificate = source.certificate, %error, "a proxy is not renewed");
                    Ok(kept.proxy.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn make(
        &self,
        vo: &VoName,
        folder: &Path,
        source: &ProxySource,
        limited: bool,
    ) -> Result<Proxy, ProxyError> {
        let pem = read(vo, folder, &source.certificate)?;
        let bad = |why| ProxyError::Robot { file: source.certificate.clone(), why };
        let robot = Robot::read(&pem).map_err(bad)?;
        let authorities =
            source.authorities.as_ref().map(|file| read(vo, folder, file)).transpose()?;
        let life = Duration::from_secs(u64::from(source.hours) * 3600);
        let attributes = vouched(source, &pem, authorities.as_deref(), life).await?;
        let wish = Wish { limited, attributes, from: SystemTime::now(), life };
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
) -> Result<Option<Vec<u8>>, ProxyError> {
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

fn read(vo: &VoName, folder: &Path, name: &str) -> Result<Vec<u8>, ProxyError> {
    let missing = || ProxyError::Missing { file: name.to_owned(), vo: vo.clone() };
    if name.contains(['/', '\0']) || name.starts_with('.') {
        return Err(missing());
    }
    std::fs::read(folder.join(name)).map_err(|_| missing())
}
