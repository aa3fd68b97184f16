//! The first line of a file.

use crate::Broken;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a pilot asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Method of HTTP.
    pub method: String,
    /// Path at the server.
    pub path: String,
    /// The token that it shows; none, if it has none yet.
    #[serde(default)]
    pub token: String,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Status of HTTP.
    pub status: u16,
}

/// A head as a line.
pub(crate) fn line(head: &impl Serialize) -> Result<Vec<u8>, Broken> {
    let mut line = serde_json::to_vec(head).map_err(|error| Broken::Head(error.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

impl Answered {
    /// It, as a file begins with it.
    pub fn line(&self) -> Result<Vec<u8>, Broken> {
        line(self)
    }
}

/// The head, and what follows it.
pub fn head_and_body<H: DeserializeOwned>(mut plain: Vec<u8>) -> Result<(H, Vec<u8>), Broken> {
    let end = plain.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| Broken::Head("there is no line".to_owned()))?;
    let body = plain.split_off(end + 1);
    let head = serde_json::from_slice(&plain).map_err(|error| Broken::Head(error.to_string()))?;
    Ok((head, body))
}
