//! Tokens of a VO's provider that its payloads show to storage.

use super::{SessionError, Sessions};
use spinor_model::{
    id::{GroupName, VoName},
    protocol::DataToken,
    registry::DataTokens,
    time::Timestamp,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The last one of a VO, what it is for, until when it is good, and when another one is asked for.
pub(super) struct Kept {
    wanted: DataTokens,
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
/// By VO: one that has a slow provider does not hold up others.
pub(super) type Slots = Mutex<HashMap<VoName, Slot>>;

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
        let (identity, wanted) = document.data_tokens(group).ok_or_else(|| {
            SessionError::Bad(format!(
                "VO {vo} has no data tokens for jobs of group {group} (`identity.data.groups`)"
            ))
        })?;
        let slot = {
            let mut slots = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(vo.clone()).or_default().clone()
        };
        let mut kept = slot.lock().await;
        let now = self.now();
        let known = kept.as_ref().filter(|kept| kept.wanted == *wanted);
        if let Some(kept) = known.filter(|kept| kept.renew > now) {
            return Ok(kept.given(now));
        }
        match self.providers.own_token(identity, self.secret(vo).as_deref(), wanted).await {
            Ok((token, life)) => {
                tracing::info!(%vo, seconds = life.as_secs(), "a token for payloads' data");
                let (wanted, expires, renew) = (wanted.clone(), now.plus(life), now.plus(life / 2));
                Ok(kept.insert(Kept { wanted, token, expires, renew }).given(now))
            }
            // What there is will do while the provider is away.
            Err(error) => match known.filter(|kept| kept.expires > now.plus(MARGIN)) {
                Some(kept) => {
                    tracing::warn!(%vo, %error, "the token for payloads' data is not renewed");
                    Ok(kept.given(now))
                }
                None => Err(error.into()),
            },
        }
    }
}

/// With less left of its life a token is not given out.
const MARGIN: Duration = Duration::from_secs(30);
