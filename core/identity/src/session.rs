//! Logins: a person goes to the VO's provider and comes back; a client gets tokens, and renews them.

mod data;
mod grant;
mod login;
mod proxy;
mod robot;

pub use grant::Tokens;
pub use login::{AuthorizationRequest, DeviceLogin};

use crate::{
    kept::Kept,
    provider::{ProviderError, Providers},
    proxy::{Proxies, ProxyError},
    scope::BadScope,
    seal::Seal,
    token::{Keys, TokenError},
};
use spinor_model::{
    id::{UserName, VoName},
    registry::VoDocument,
    time::{Clock, Timestamp},
};
use spinor_store::{IdentityStore, StoreError};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// The client that DIRAC's and DiracX's programs are: public, so no secret goes with it.
pub const CLIENT_ID: &str = "myDIRACClientID";

/// VOs and their documents in force.
pub trait Documents: Send + Sync {
    /// A VO's document.
    fn document(&self, vo: &VoName) -> Option<Arc<VoDocument>>;
    /// All VOs.
    fn vos(&self) -> Vec<VoName>;
}

/// Why somebody gets no tokens. It never holds one.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// What was asked for cannot be had.
    #[error(transparent)]
    Scope(#[from] BadScope),
    /// What was sent makes no sense.
    #[error("{0}")]
    Bad(String),
    /// Nobody has logged in yet.
    #[error("authorization_pending")]
    Pending,
    /// Whoever asks must log in again.
    #[error("{0}")]
    Unauthorized(String),
    /// They are not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such token.
    #[error("{0}")]
    NotFound(String),
    /// The VO's provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The VO's proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
}

fn bad<T>(text: impl Into<String>) -> Result<T, SessionError> {
    Err(SessionError::Bad(text.into()))
}

/// The secret that this server has at a VO's provider, in the folder of the VO's secrets.
fn secret(secrets: &Path, vo: &VoName) -> Option<String> {
    let file = secrets.join(vo.as_str()).join("identity");
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// What logins need of the server.
pub struct Parts {
    /// Where people and logins are kept.
    pub store: Arc<dyn IdentityStore>,
    /// VOs.
    pub documents: Arc<dyn Documents>,
    /// Who signs.
    pub keys: Arc<Keys>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Under what the server is known to browsers and clients.
    pub url: String,
    /// Addresses that clients may ask people to be sent back to.
    pub redirects: Vec<String>,
    /// Folders of the VOs' secrets.
    pub secrets: PathBuf,
    /// Seals what is kept of providers.
    pub seal: Seal,
}

/// Logins.
pub struct Sessions {
    store: Arc<dyn IdentityStore>,
    documents: Arc<dyn Documents>,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    url: String,
    redirects: Vec<String>,
    secrets: PathBuf,
    seal: Seal,
    providers: Arc<Providers>,
    banned: RwLock<HashSet<(VoName, UserName)>>,
    looking: tokio::sync::Mutex<()>,
    tokens: Kept<data::Tokens>,
    proxies: Proxies,
}

impl Sessions {
    /// Ready to log people in.
    ///
    /// # Errors
    /// If the machine's certificates cannot be read.
    pub fn new(parts: Parts) -> Result<Self, reqwest::Error> {
        let Parts { store, documents, keys, clock, url, redirects, secrets, seal } = parts;
        let proxies = Proxies::new(secrets.clone(), clock.clone());
        let (providers, banned) = (Arc::new(Providers::new()?), RwLock::default());
        let tokens = data::Tokens {
            providers: providers.clone(),
            documents: documents.clone(),
            secrets: secrets.clone(),
            clock: clock.clone(),
        };
        let tokens = Kept::new(tokens, clock.clone());
        let looking = tokio::sync::Mutex::default();
        Ok(Self {
            store,
            documents,
            keys,
            clock,
            url,
            redirects,
            secrets,
            seal,
            providers,
            banned,
            looking,
            tokens,
            proxies,
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn document(&self, vo: &VoName) -> Result<Arc<VoDocument>, SessionError> {
        let unknown = || BadScope::UnknownVo(vo.to_string());
        Ok(self.documents.document(vo).ok_or_else(unknown)?)
    }

    /// The secret that this server has at a VO's provider, if it has one.
    fn secret(&self, vo: &VoName) -> Option<String> {
        secret(&self.secrets, vo)
    }

    /// Whether somebody is shut out.
    pub fn is_banned(&self, vo: &VoName, user: &UserName) -> bool {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        !banned.is_empty() && banned.contains(&(vo.clone(), user.clone()))
    }

    /// Takes over who is shut out by now, on whichever server that was said.
    pub async fn look_at_bans(&self) -> Result<(), StoreError> {
        let _turn = self.looking.lock().await;
        let bans = self.store.bans().await?;
        let bans = bans.into_iter().map(|ban| (ban.vo, ban.user)).collect();
        *self.banned.write().unwrap_or_else(PoisonError::into_inner) = bans;
        Ok(())
    }

    /// Shuts somebody out, or lets them in again: their tokens end at once.
    pub async fn ban(
        &self,
        vo: &VoName,
        user: &UserName,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        self.store.set_ban(vo, user, reason.map(|reason| (reason, self.now()))).await?;
        self.look_at_bans().await
    }
}
