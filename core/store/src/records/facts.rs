//! Facts: varying quantities that the server is told.

use serde::{Deserialize, Serialize};
use spinor_model::{policy::Fact, time::Timestamp};

/// A fact, and how old it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactRecord {
    /// It.
    #[serde(flatten)]
    pub fact: Fact,
    /// When it was told.
    pub told: Timestamp,
    /// Until when it counts.
    pub until: Timestamp,
}
