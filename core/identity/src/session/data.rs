//! Tokens of a VO's provider that the server gets in its own name: for CEs, and for payloads to show to
//! storage.

use super::{SessionError, Sessions};
use async_trait::async_trait;
use spinor_model::{
    id::{GroupName, VoName},
    policy::{CredentialSource, Proxy},
    protocol::DataToken,
    registry::ClientToken,
    time::Timestamp,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The last one, until when it is good, and when another one is asked for.
pub(super) struct Kept {
    token: String,
    expires: Timestamp,
    renew: Timestamp,
}

impl Kept {
    fn given(&self, now: Timestamp) -> DataToken {
        let expires_in = self.expires.since(now).as_secs();
        DataToken { access_token: self.token.clone(), expires_in }
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;
/// By VO and what is wanted: one that has a slow provider does not hold up others.
pub(super) type Slots = Mutex<HashMap<(VoName, ClientToken), Slot>>;

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
        let document = self.document(vo)?;
        let identity = document
            .identity
            .as_ref()
            .ok_or_else(|| SessionError::Bad(format!("VO {vo} has no provider (`identity`)")))?;
        let slot = {
            let mut slots = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry((vo.clone(), wanted.clone())).or_default().clone()
        };
        let mut kept = slot.lock().await;
        let now = self.now();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.renew > now) {
            return Ok(kept.given(now));
        }
        let scopes = wanted.scopes.iter().cloned().collect::<Vec<_>>().join(" ");
        match self.providers.own_token(identity, self.secret(vo).as_deref(), wanted).await {
            Ok((token, life)) => {
                tracing::info!(%vo, scopes, seconds = life.as_secs(), "a token of our own");
                let (expires, renew) = (now.plus(life), now.plus(life / 2));
                Ok(kept.insert(Kept { token, expires, renew }).given(now))
            }
            // What there is will do while the provider is away.
            Err(error) => match kept.as_ref().filter(|kept| kept.expires > now.plus(MARGIN)) {
                Some(kept) => {
                    tracing::warn!(%vo, scopes, %error, "a token of our own is not renewed");
                    Ok(kept.given(now))
                }
                None => Err(error.into()),
            },
        }
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

/// With less left of its life a token is not given out.
const MARGIN: Duration = Duration::from_secs(30);
