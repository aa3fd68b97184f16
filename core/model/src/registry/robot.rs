//! Programs that submit for people whom this server does not know: portals, science gateways.

use crate::id::{Digest, GroupName};
use serde::{Deserialize, Serialize};

/// A program that acts as a member of a VO, under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Robot {
    /// The group that it is in.
    pub group: GroupName,
    /// SHA-256 of its secret: `spinor token robot` makes both.
    pub secret_sha256: Digest,
    /// Whether it must name the person behind each submission.
    #[serde(default = "yes")]
    pub names_people: bool,
}

fn yes() -> bool {
    true
}
