//! Servers on one database.

use serde::{Deserialize, Serialize};
use spinor_model::{id::VoName, time::Timestamp};
use std::collections::BTreeMap;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Its name, chosen when it started.
    pub server: String,
    /// Where it is reached.
    pub url: String,
    /// When it last said that it is up.
    pub seen: Timestamp,
    /// The revision of each VO's document that it has put in force.
    pub revisions: BTreeMap<VoName, i64>,
    /// Why it is not further; empty if it is.
    pub problem: String,
}
