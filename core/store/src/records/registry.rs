//! VO documents and components.

use spinor_model::{id::Digest, registry::VoDocument};
use std::collections::BTreeMap;

/// A component that is kept.
#[derive(Debug, Clone)]
pub struct StoredComponent {
    /// Its digest.
    pub digest: Digest,
    /// Where it came from: `embedded`, or who uploaded it.
    pub source: String,
}

/// A VO's document in force.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// The document.
    pub document: VoDocument,
    /// From 1.
    pub revision: i64,
    /// What its bindings were resolved to.
    pub resolutions: BTreeMap<String, Digest>,
}
