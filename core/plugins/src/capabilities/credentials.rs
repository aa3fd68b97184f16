//! Tokens and proxies of VOs, for requests that the host sends in a VO's name.

use spinor_model::{
    id::VoName,
    policy::{CredentialSource, Proxy},
    registry::ClientToken,
};
use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

/// Where they come from, once the server has that.
#[derive(Clone, Default)]
pub struct LateCredentials(Arc<OnceLock<Weak<dyn CredentialSource>>>);

impl LateCredentials {
    /// From now on they come from here.
    pub fn come_from(&self, source: &Arc<dyn CredentialSource>) {
        // Whoever says it first is believed: a server says it once.
        drop(self.0.set(Arc::downgrade(source)));
    }

    fn source(&self) -> Result<Arc<dyn CredentialSource>, String> {
        let source = self.0.get().and_then(Weak::upgrade);
        source.ok_or_else(|| "the server is not ready to get credentials".to_owned())
    }
}

/// Those of one VO.
#[derive(Clone)]
pub struct Credentials {
    /// Where they come from.
    pub source: LateCredentials,
    /// Whose.
    pub vo: VoName,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credentials of {}", self.vo)
    }
}

impl Credentials {
    /// A token, or why there is none.
    pub async fn token(&self, wanted: &ClientToken) -> Result<String, String> {
        self.source.source()?.token(&self.vo, wanted).await
    }

    /// A proxy, or why there is none.
    pub async fn proxy(&self, name: &str) -> Result<Proxy, String> {
        self.source.source()?.proxy(&self.vo, name).await
    }
}
