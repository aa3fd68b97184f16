//! Nodes: the machines that pilots are on.

use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{CeName, NodeName, TemplateId, UserName, VoName},
    plan::AttemptResult,
    time::Timestamp,
};

/// A node whose pilots get no jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBan {
    /// For whom.
    pub vo: VoName,
    /// Where.
    pub ce: CeName,
    /// Which.
    pub node: NodeName,
    /// Since when.
    pub since: Timestamp,
    /// Until when; until somebody allows it again, if nothing is said.
    pub until: Option<Timestamp>,
    /// For people.
    pub reason: String,
}

/// How an attempt on a node ended.
#[derive(Debug, Clone)]
pub struct NodeEnding {
    /// What was submitted with it.
    pub template: TemplateId,
    /// Whose it was.
    pub owner: UserName,
    /// How it ended.
    pub result: AttemptResult,
}
