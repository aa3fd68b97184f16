//! VO documents and components.

use spinor_model::{
    id::{Digest, VoName},
    registry::VoDocument,
    time::Timestamp,
};
use std::collections::BTreeMap;

/// A component that is kept, and one who brought it.
#[derive(Debug, Clone)]
pub struct StoredComponent {
    /// Its digest.
    pub digest: Digest,
    /// Whose it is; none: the installation's.
    pub owner: Option<VoName>,
    /// Where it came from: `embedded`, `upload`, or an address.
    pub source: String,
    /// Who pushed it.
    pub pushed_by: String,
    /// When.
    pub added: Timestamp,
}

/// A component on its way in.
#[derive(Debug, Clone)]
pub struct NewComponent {
    /// Its digest; its bytes are among the blobs.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whose it is; none: the installation's.
    pub owner: Option<VoName>,
    /// Where it came from.
    pub source: String,
    /// Who pushed it.
    pub pushed_by: String,
    /// Signatures over its digest, by public key, both in hexadecimal.
    pub signatures: Vec<(String, String)>,
}

/// Why and by whom a document was put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub author: String,
    /// `apply`, `bind`, `rollout`, `promote`, `rollback`, `disable`, ….
    pub action: String,
    /// In words.
    pub note: String,
}

/// A revision of a VO's document.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// The document, as it was written.
    pub document: VoDocument,
    /// The document with what its VO inherited.
    pub effective: VoDocument,
    /// From 1.
    pub revision: i64,
    /// What its bindings were resolved to.
    pub resolutions: BTreeMap<String, Digest>,
    /// By whom and why.
    pub change: Change,
    /// When.
    pub applied: Timestamp,
}
