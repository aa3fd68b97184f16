use crate::{StoreError, records::*};
use async_trait::async_trait;
use spinor_model::{
    id::{CeName, NodeName, Stamp, TemplateId, VoName},
    time::Timestamp,
};

/// Nodes: the machines that pilots are on.
#[async_trait]
pub trait NodeStore: Send + Sync {
    /// The last attempts that ended on a node, the last first.
    async fn endings_on(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<NodeEnding>, StoreError>;

    /// The last attempts of a submission that ended on other nodes, the last first.
    async fn endings_elsewhere(
        &self,
        template: TemplateId,
        ce: &CeName,
        node: &NodeName,
        limit: u32,
    ) -> Result<Vec<NodeEnding>, StoreError>;

    /// Whether the VO has had pilots on other nodes since then.
    async fn has_other_nodes(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        since: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Bans a node, or says anew why and until when; what somebody banned for good stays so.
    async fn ban_node(&self, ban: &NodeBan) -> Result<(), StoreError>;

    /// Ends a ban now; whether there was one.
    async fn allow_node(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// The last ban of a node, over or not.
    async fn node_ban(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<Option<NodeBan>, StoreError>;

    /// Bans that are not over.
    async fn node_bans(&self, now: Timestamp) -> Result<Vec<NodeBan>, StoreError>;

    /// Pilots on banned nodes that have not ended.
    async fn pilots_on_banned_nodes(&self, now: Timestamp) -> Result<Vec<Stamp>, StoreError>;
}
