use crate::{StoreError, records::*};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};

/// People and their logins.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Somebody by their number.
    async fn user(&self, vo: &VoName, sub: &str) -> Result<Option<UserRecord>, StoreError>;

    /// Everybody of a VO, by name.
    async fn users(&self, vo: &VoName) -> Result<Vec<UserRecord>, StoreError>;

    /// Remembers somebody; whether the name was still theirs to have.
    async fn put_user(&self, user: &UserRecord) -> Result<bool, StoreError>;

    /// Shuts somebody out, or lets them in again.
    async fn set_ban(
        &self,
        vo: &VoName,
        user: &UserName,
        ban: Option<(&str, Timestamp)>,
    ) -> Result<(), StoreError>;

    /// Everybody who is shut out.
    async fn bans(&self) -> Result<Vec<Ban>, StoreError>;

    /// Remembers a login that begins, and forgets those that are long over.
    async fn add_flow(&self, flow: &FlowRecord, now: Timestamp) -> Result<(), StoreError>;

    /// A login.
    async fn flow(&self, key: FlowKey) -> Result<Option<FlowRecord>, StoreError>;

    /// Takes a login from one stage to another, once: whether it was in that stage.
    async fn advance_flow(
        &self,
        flow: Digest,
        from: FlowStage,
        to: &FlowRecord,
    ) -> Result<bool, StoreError>;

    /// Remembers a refresh token, and forgets those that are long over.
    async fn add_refresh(&self, token: &RefreshRecord, now: Timestamp) -> Result<(), StoreError>;

    /// A refresh token.
    async fn refresh(&self, jti: &str) -> Result<Option<RefreshRecord>, StoreError>;

    /// Refresh tokens that count, of somebody or, without a number, of a whole VO.
    async fn refreshes(
        &self,
        vo: &VoName,
        sub: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<RefreshRecord>, StoreError>;

    /// A refresh token is used up, and the next one takes its place; whether it was still good.
    async fn rotate(&self, jti: &str, next: &RefreshRecord) -> Result<bool, StoreError>;

    /// A refresh token counts no more; whether it did until now.
    async fn revoke(&self, jti: &str) -> Result<bool, StoreError>;

    /// None of somebody's refresh tokens counts any more.
    async fn revoke_all(&self, vo: &VoName, sub: &str) -> Result<(), StoreError>;
}
