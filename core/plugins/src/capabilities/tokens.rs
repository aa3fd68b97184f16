//! Tokens of VOs' providers, for requests that the host sends in a VO's name.

use spinor_model::{id::VoName, policy::TokenSource, registry::ClientToken};
use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

/// Where tokens come from, once the server has that.
#[derive(Clone, Default)]
pub struct LateTokens(Arc<OnceLock<Weak<dyn TokenSource>>>);

impl LateTokens {
    /// From now on they come from here.
    pub fn come_from(&self, source: &Arc<dyn TokenSource>) {
        // Whoever says it first is believed: a server says it once.
        drop(self.0.set(Arc::downgrade(source)));
    }
}

/// Those of one VO.
#[derive(Clone)]
pub struct Tokens {
    /// Where they come from.
    pub source: LateTokens,
    /// Whose.
    pub vo: VoName,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens of {}", self.vo)
    }
}

impl Tokens {
    /// A token, or why there is none.
    pub async fn token(&self, wanted: &ClientToken) -> Result<String, String> {
        match self.source.0.get().and_then(Weak::upgrade) {
            Some(source) => source.token(&self.vo, wanted).await,
            None => Err("the server is not ready to get tokens".to_owned()),
        }
    }
}
