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
