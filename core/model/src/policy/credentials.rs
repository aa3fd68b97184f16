use crate::{id::VoName, registry::ClientToken, time::Timestamp};
use async_trait::async_trait;
use std::{fmt, sync::Arc};

/// An X.509 proxy.
#[derive(Clone)]
pub struct Proxy {
    /// Certificate, key and chain, in PEM.
    pub pem: Arc<str>,
    /// Until when it is good.
    pub expires: Timestamp,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a proxy until {}", self.expires)
    }
}

/// Gets tokens from VOs' providers, in the server's own name, and issues their proxies.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// A token with more than half of its life before it, or why there is none.
    async fn token(&self, vo: &VoName, wanted: &ClientToken) -> Result<String, String>;

    /// One of the VO's proxies by its name, with more than half of its life before it, or why there is
    /// none.
    async fn proxy(&self, vo: &VoName, name: &str) -> Result<Proxy, String>;
}
