use crate::{id::VoName, registry::ClientToken};
use async_trait::async_trait;

/// Gets tokens from VOs' providers, in the server's own name.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// One with more than half of its life before it, or why there is none.
    async fn token(&self, vo: &VoName, wanted: &ClientToken) -> Result<String, String>;
}
