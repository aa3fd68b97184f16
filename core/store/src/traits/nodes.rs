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

    /// How jobs of a submission fare on other nodes.
    async fn elsewhere(
        &self,
        template: TemplateId,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<Elsewhere, StoreError>;

    /// Bans a node, or says anew why and until when.
    async fn ban_node(&self, ban: &NodeBan) -> Result<(), StoreError>;

    /// Takes a ban back; whether there was one.
    async fn allow_node(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<bool, StoreError>;

    /// Bans that are not over.
    async fn node_bans(&self, now: Timestamp) -> Result<Vec<NodeBan>, StoreError>;

    /// Pilots on banned nodes that have not ended.
    async fn pilots_on_banned_nodes(&self, now: Timestamp) -> Result<Vec<Stamp>, StoreError>;
}
