//! Tokens of a VO's provider that the server gets in its own name: for CEs, and for payloads to show to
//! storage.

use super::{Documents, SessionError, Sessions, secret};
use crate::{
    kept::Source,
    provider::{ProviderError, Providers},
};
use async_trait::async_trait;
use spinor_model::{
    id::{GroupName, VoName},
    policy::{CredentialSource, Proxy},
    protocol::DataToken,
    registry::ClientToken,
    time::{Clock, Timestamp},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Where tokens of the server's own come from.
pub(super) struct Tokens {
    pub providers: Arc<Providers>,
    pub documents: Arc<dyn Documents>,
    pub secrets: PathBuf,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Source for Tokens {
    type Key = (VoName, ClientToken);
    type Made = String;
    type Error = SessionError;
    const MARGIN: Duration = Duration::from_secs(30);

    async fn make(
        &self,
        (vo, wanted): &(VoName, ClientToken),
    ) -> Result<(String, Timestamp), SessionError> {
        let document = self.documents.document(vo);
        let identity = document.as_ref().and_then(|document| document.identity.as_ref());
        let none = || SessionError::Bad(format!("VO {vo} has no provider (`identity`)"));
        let secret = secret(&self.secrets, vo);
        let asked = self.clock.now();
        let made =
            self.providers.own_token(identity.ok_or_else(none)?, secret.as_deref(), wanted).await?;
        let (token, life) = made;
        let scopes = wanted.scopes.iter().cloned().collect::<Vec<_>>().join(" ");
        tracing::info!(%vo, scopes, seconds = life.as_secs(), "a token of our own");
        Ok((token, asked.plus(life)))
    }

    fn again(why: String) -> SessionError {
        ProviderError::Again(why).into()
    }
}

impl Sessions {
    /// A token for a group's payloads, with more than half of its life before it.
    ///
    /// # Errors
    /// If the VO's document gives the group none, or its provider does not.
    pub async fn data_token(
        &self,
        vo: &VoName,
        group: &GroupName,
    ) -> Result<DataToken, SessionError> {
        let document = self.document(vo)?;
        let wanted = document.data_tokens(group).ok_or_else(|| {
            SessionError::Bad(format!(
                "VO {vo} has no data tokens for jobs of group {group} (`identity.data.groups`)"
            ))
        })?;
        self.client_token(vo, &wanted.wanted()).await
    }

    /// A token of the server's own, with more than half of its life before it.
    async fn client_token(
        &self,
        vo: &VoName,
        wanted: &ClientToken,
    ) -> Result<DataToken, SessionError> {
        let (access_token, until) = self.tokens.get((vo.clone(), wanted.clone())).await?;
        Ok(DataToken { access_token, expires_in: until.since(self.now()).as_secs() })
    }
}

#[async_trait]
impl CredentialSource for Sessions {
    async fn token(&self, vo: &VoName, wanted: &ClientToken) -> Result<String, String> {
        let token = self.client_token(vo, wanted).await;
        token.map(|token| token.access_token).map_err(|error| error.to_string())
    }

    async fn proxy(&self, vo: &VoName, name: &str) -> Result<Proxy, String> {
        self.named_proxy(vo, name).await
    }
}
