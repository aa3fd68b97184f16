//! What is wrong with a document somebody wrote.

use serde::{Deserialize, Serialize};

/// One thing wrong with a document somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where, as a JSON pointer or a dotted TOML path.
    pub field: String,
    /// The offending value, shortened.
    pub value: String,
    /// What is wrong with it, and the way out.
    pub message: String,
}

/// Characters of a value that are shown.
const SHOWN: usize = 200;

impl Finding {
    /// A finding; the value is shortened.
    pub fn new(field: impl Into<String>, value: impl ToString, message: impl Into<String>) -> Self {
        let value = value.to_string().chars().take(SHOWN).collect();
        Self { field: field.into(), value, message: message.into() }
    }
}

/// What brought an error about in the first place.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.last().map(ToString::to_string).unwrap_or_default()
}

/// An error with what brought it about.
pub fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
