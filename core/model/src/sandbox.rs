//! Names of sandboxes, as DiracX's clients know them.

use crate::id::{Digest, GroupName, UserName, VoName};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How the files of a sandbox are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SandboxFormat {
    /// A tar archive, compressed by Zstandard.
    #[serde(rename = "tar.zst")]
    Zstd,
    /// A tar archive, compressed by bzip2.
    #[serde(rename = "tar.bz2")]
    Bzip2,
    /// A tar archive, compressed by gzip.
    #[serde(rename = "tar.gz")]
    Gzip,
}

impl SandboxFormat {
    /// What such a file's name ends with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "tar.zst",
            Self::Bzip2 => "tar.bz2",
            Self::Gzip => "tar.gz",
        }
    }

    /// What some bytes are, by their first ones.
    pub fn of(content: &[u8]) -> Option<Self> {
        match content {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            _ => None,
        }
    }
}

impl FromStr for SandboxFormat {
    type Err = BadSandboxName;
    fn from_str(text: &str) -> Result<Self, BadSandboxName> {
        let all = [Self::Zstd, Self::Bzip2, Self::Gzip];
        all.into_iter().find(|format| format.as_str() == text).ok_or_else(|| bad(text))
    }
}

/// A sandbox by its content, and whose it is: `SB:SandboxSE|/S3/spinor/VO/GROUP/USER/sha256:DIGEST.tar.zst`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxName {
    /// Its VO.
    pub vo: VoName,
    /// The group it was brought in.
    pub group: GroupName,
    /// Who brought it.
    pub user: UserName,
    /// Its content.
    pub digest: Digest,
    /// How it is packed.
    pub format: SandboxFormat,
}

/// Text that names no sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no sandbox's name: write [SB:SE|]/S3/BUCKET/VO/GROUP/USER/sha256:DIGEST.tar.zst")]
pub struct BadSandboxName(String);

fn bad(text: &str) -> BadSandboxName {
    BadSandboxName(text.chars().take(200).collect())
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vo, group, user, digest, format } = self;
        write!(f, "SB:SandboxSE|/S3/spinor/{vo}/{group}/{user}/sha256:{digest}.{}", format.as_str())
    }
}

impl FromStr for SandboxName {
    type Err = BadSandboxName;
    fn from_str(text: &str) -> Result<Self, BadSandboxName> {
        let path = match text.strip_prefix("SB:") {
            Some(rest) => rest.split_once('|').map(|(_, path)| path),
            None => Some(text),
        };
        let parts: Vec<&str> = path.unwrap_or_default().split('/').collect();
        let ["", "S3", _, vo, group, user, file] = parts[..] else { return Err(bad(text)) };
        let (digest, format) = file
            .strip_prefix("sha256:")
            .and_then(|file| file.split_once('.'))
            .ok_or_else(|| bad(text))?;
        Ok(Self {
            vo: vo.parse().map_err(|_| bad(text))?,
            group: group.parse().map_err(|_| bad(text))?,
            user: user.parse().map_err(|_| bad(text))?,
            digest: digest.parse().map_err(|_| bad(text))?,
            format: format.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_with_and_without_its_store() {
        let name = SandboxName {
            vo: "lab".parse().unwrap(),
            group: "user".parse().unwrap(),
            user: "ada".parse().unwrap(),
            digest: Digest::of(b"x"),
            format: SandboxFormat::Zstd,
        };
        let text = name.to_string();
        assert_eq!(text.parse(), Ok(name.clone()));
        assert_eq!(text.split_once('|').unwrap().1.parse(), Ok(name));
        for wrong in [
            "",
            "/etc/passwd",
            "SB:x",
            "/S3/b/lab/user/ada/sha256:00.tar.zst",
            "/S3/b/lab/user/../x",
        ] {
            assert!(wrong.parse::<SandboxName>().is_err(), "{wrong}");
        }
    }
}
