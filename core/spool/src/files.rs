//! What the files are called: `NUMBER.request` and `NUMBER.response`.

use std::fmt;

/// How the names of requests end.
pub const REQUEST: &str = ".request";

/// A request or its answer, by the number that the pilot gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// What a pilot asks.
    Request(u32),
    /// What it is answered.
    Response(u32),
}

impl Name {
    /// The number of a request with this name.
    pub fn request(name: &str) -> Option<u32> {
        name.strip_suffix(REQUEST)?.parse().ok()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(number) => write!(f, "{number}{REQUEST}"),
            Self::Response(number) => write!(f, "{number}.response"),
        }
    }
}
