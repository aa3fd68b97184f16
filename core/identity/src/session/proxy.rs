//! VOs' proxies, for CEs and for payloads.

use super::{SessionError, Sessions};
use spinor_model::{
    id::{GroupName, VoName},
    policy::Proxy,
    protocol::PayloadProxy,
};

impl Sessions {
    /// A limited proxy for a group's payloads.
    ///
    /// # Errors
    /// If the VO's document gives the group none, or it cannot be made.
    pub async fn payload_proxy(
        &self,
        vo: &VoName,
        group: &GroupName,
    ) -> Result<PayloadProxy, SessionError> {
        let document = self.document(vo)?;
        let name = document.payload_proxy(group).ok_or_else(|| {
            SessionError::Bad(format!(
                "VO {vo} has no proxy for jobs of group {group} (`proxies.NAME.groups`)"
            ))
        })?;
        let Proxy { pem, expires } = self.proxies.get(vo, &document.proxies[name], true).await?;
        let expires_in = expires.since(self.now()).as_secs();
        Ok(PayloadProxy { pem: pem.to_string(), expires_in })
    }

    /// One of a VO's proxies by its name, or why there is none.
    pub(super) async fn named_proxy(&self, vo: &VoName, name: &str) -> Result<Proxy, String> {
        let document = self.document(vo).map_err(|error| error.to_string())?;
        let source = document.proxies.get(name);
        let source =
            source.ok_or_else(|| format!("VO {vo} has none of that name (`[proxies]`)"))?;
        self.proxies.get(vo, source, false).await.map_err(|error| error.to_string())
    }
}
