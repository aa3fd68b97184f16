//! Names and numbers that must not be confused.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// A name that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} `{value}` is not a name: use 1 to 64 letters, digits, dots, hyphens and underscores, beginning with a letter or digit"
)]
pub struct BadName {
    what: &'static str,
    value: String,
}

fn check_name(what: &'static str, value: &str) -> Result<(), BadName> {
    let good = value.len() <= 64
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    good.then_some(()).ok_or_else(|| BadName { what, value: value.chars().take(80).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = BadName;
            fn from_str(value: &str) -> Result<Self, BadName> {
                check_name($what, value).map(|()| Self(value.to_owned()))
            }
        }
        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(value: String) -> Result<Self, BadName> {
                check_name($what, &value).map(|()| Self(value))
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// A virtual organisation.
    VoName, "VO");
name!(
    /// A group inside a VO.
    GroupName, "group");
name!(
    /// A person, as their VO calls them.
    UserName, "user");
name!(
    /// A site.
    SiteName, "site");
name!(
    /// A computing element.
    CeName, "CE");
name!(
    /// A queue of a computing element.
    QueueName, "queue");
name!(
    /// A machine that pilots are on, as it calls itself.
    NodeName, "node");
name!(
    /// What a fact is called.
    FactName, "fact");
name!(
    /// A type of job, e.g. `executable`.
    JobType, "job type");
name!(
    /// A bound accounting sink.
    SinkName, "accounting sink");
name!(
    /// A pilot, for ever.
    Stamp, "pilot stamp");

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A job. Stable over all its attempts.
    JobId(i64));
number!(
    /// One try at a job, from 1; 0 before the first. It fences: what belongs to an earlier attempt
    /// cannot touch a later one.
    AttemptNumber(u32));
number!(
    /// What was admitted in one submission: one template, many jobs.
    TemplateId(i64));
number!(
    /// A requirement class: all that matching may look at.
    ClassId(i64));

/// SHA-256 of some bytes: the name of a component or a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: it takes 64 hexadecimal digits")]
pub struct BadDigest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One of `buckets`, the same for the same bytes everywhere and for ever.
    pub fn bucket(&self, buckets: u64) -> u64 {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(first) % buckets.max(1)
    }

    /// The first twelve digits: enough for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| BadDigest(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert!("LCG.CERN.ch".parse::<SiteName>().is_ok());
        for bad in ["", "-x", "a b", "a/b", &"x".repeat(65)] {
            let error = bad.parse::<SiteName>().unwrap_err();
            assert!(error.to_string().starts_with("site `"), "{error}");
        }
    }

    #[test]
    fn a_digest_reads_back() {
        let digest = Digest::of(b"spinor");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("abc".parse::<Digest>().is_err());
    }
}
