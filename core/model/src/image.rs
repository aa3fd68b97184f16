//! Container images that payloads run in.

use serde::{Deserialize, Serialize};
use std::{fmt, path::Path, str::FromStr};

/// A container image.
///
/// ```
/// use spinor_model::image::Image;
/// let image: Image = "docker://docker.io/library/debian:12".parse().unwrap();
/// assert_eq!(image, Image::Registry("docker.io/library/debian:12".to_owned()));
/// let unpacked: Image = "/cvmfs/unpacked.example.org/debian:12".parse().unwrap();
/// assert!(matches!(unpacked, Image::Unpacked(_)));
/// assert!("debian".parse::<Image>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Image {
    /// In a registry: host, name, and tag or digest.
    Registry(String),
    /// Unpacked, in a directory of the workers.
    Unpacked(String),
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no image: write docker://REGISTRY/NAME:TAG, or the path of a directory that has it unpacked on the workers"
)]
pub struct BadImage(String);

const SCHEME: &str = "docker://";
const MAX_LENGTH: usize = 512;

impl FromStr for Image {
    type Err = BadImage;

    fn from_str(text: &str) -> Result<Self, BadImage> {
        let bad = || BadImage(text.chars().take(200).collect());
        if text.len() > MAX_LENGTH || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad());
        }
        if let Some(reference) = text.strip_prefix(SCHEME) {
            let word = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
            let good = reference.starts_with(|c: char| c.is_ascii_alphanumeric())
                && reference.chars().all(word);
            return good.then(|| Self::Registry(reference.to_owned())).ok_or_else(bad);
        }
        let path = Path::new(text);
        let inside = path.components().all(|part| part != std::path::Component::ParentDir);
        let good = path.is_absolute() && inside && path != Path::new("/");
        good.then(|| Self::Unpacked(text.to_owned())).ok_or_else(bad)
    }
}

impl TryFrom<String> for Image {
    type Error = BadImage;

    fn try_from(text: String) -> Result<Self, BadImage> {
        text.parse()
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.to_string()
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{SCHEME}{reference}"),
            Self::Unpacked(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_only_what_can_be_an_image() {
        for bad in ["", "/", "docker://", "docker://-x", "debian:12", "/a/../b", "docker://a b"] {
            assert!(bad.parse::<Image>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_shows(text in "(docker://|/)[a-z0-9./:@-]{1,40}") {
            if let Ok(image) = text.parse::<Image>() {
                prop_assert_eq!(image.to_string(), text);
            }
        }
    }
}
