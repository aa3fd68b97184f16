//! Images come from their registries, layer by layer.

use super::layers;
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError as Error, OciError, OciErrorCode},
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};
use serde::Deserialize;
use spinor_model::finding::causes;
use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

/// Why an image is not here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoImage {
    /// It cannot be had.
    #[error("image {0}: {1}")]
    Refused(String, String),
    /// It could not be had now.
    #[error("image {0}: {1}")]
    Trouble(String, String),
}

impl NoImage {
    pub(super) fn refused(image: impl ToString, why: impl ToString) -> Self {
        Self::Refused(image.to_string(), why.to_string())
    }

    pub(super) fn trouble(image: impl ToString, why: impl ToString) -> Self {
        Self::Trouble(image.to_string(), why.to_string())
    }

    /// Only a registry that knows no such image says so for good: whatever else it says may be different in a while.
    fn of(reference: &Reference, error: &Error) -> Self {
        let unknown = |error: &OciError| {
            matches!(
                error.code,
                OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
            )
        };
        match error {
            Error::ImageManifestNotFoundError(_) | Error::ServerError { code: 404, .. } => {
                Self::refused(reference, error)
            }
            Error::RegistryError { envelope, .. } if envelope.errors.iter().any(unknown) => {
                Self::refused(reference, error)
            }
            _ => Self::trouble(reference, causes(error)),
        }
    }

    /// A layer that cannot be unpacked can be so nowhere, unless it is the worker's disk.
    fn unpacking(reference: &Reference, error: &io::Error) -> Self {
        use nix::libc::{EDQUOT, EIO, ENOSPC};
        match error.raw_os_error() {
            Some(ENOSPC | EIO | EDQUOT) => Self::trouble(reference, error),
            _ => Self::refused(reference, error),
        }
    }
}

#[derive(Default, Deserialize)]
struct Configuration {
    config: Option<Inner>,
}

#[derive(Default, Deserialize)]
struct Inner {
    #[serde(rename = "Env")]
    environment: Option<Vec<String>>,
}

/// A configuration is a few KiB, and is read into memory.
const MAX_CONFIGURATION: i64 = 4 << 20;
/// A registry that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Brings an image into an empty directory; its environment.
pub async fn pull(name: &str, root: &Path) -> Result<Vec<(String, String)>, NoImage> {
    let reference: Reference = name.parse().map_err(|error| NoImage::refused(name, error))?;
    let client = client(&reference);
    let trouble = |error: Error| NoImage::of(&reference, &error);
    let pulled = client.pull_image_manifest(&reference, &RegistryAuth::Anonymous).await;
    let (manifest, digest) = pulled.map_err(trouble)?;
    if manifest.config.size > MAX_CONFIGURATION {
        return Err(NoImage::refused(name, "its configuration is too large"));
    }
    let mut configuration = Vec::new();
    client.pull_blob(&reference, &manifest.config, &mut configuration).await.map_err(trouble)?;
    let configuration: Configuration =
        serde_json::from_slice(&configuration).map_err(|error| NoImage::refused(name, error))?;
    let bytes: i64 = manifest.layers.iter().map(|layer| layer.size).sum();
    tracing::info!(image = %reference, digest, mb = bytes >> 20, "fetching an image");
    for layer in &manifest.layers {
        lay(&client, &reference, layer, root).await?;
    }
    complete(root).map_err(|error| NoImage::trouble(name, error))?;
    let variables = configuration.config.unwrap_or_default().environment.unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    Ok(variables.into_iter().filter_map(pair).collect())
}

/// Makes what is mounted upon: images seldom have all of it. What is there, be it a link, stays, and is not followed.
pub fn complete(root: &Path) -> io::Result<()> {
    let real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
    for folder in ["dev", "proc", "sys", "tmp", "etc", "var", "var/tmp"] {
        let folder = root.join(folder);
        if folder.parent().is_some_and(real) && fs::symlink_metadata(&folder).is_err() {
            fs::create_dir(folder)?;
        }
    }
    for file in ["passwd", "group", "hosts", "resolv.conf"] {
        let file = root.join("etc").join(file);
        if file.parent().is_some_and(real) && fs::symlink_metadata(&file).is_err() {
            File::create_new(file)?;
        }
    }
    Ok(())
}

/// How a registry is spoken to: this machine's own without TLS, as other tools do.
pub fn protocol(reference: &Reference) -> ClientProtocol {
    let host = reference.resolve_registry().split(':').next().unwrap_or_default();
    let here = host == "localhost" || host == "127.0.0.1";
    if here { ClientProtocol::Http } else { ClientProtocol::Https }
}

fn client(reference: &Reference) -> Client {
    let (protocol, patience) = (protocol(reference), Some(PATIENCE));
    Client::new(ClientConfig {
        protocol,
        read_timeout: patience,
        connect_timeout: patience,
        ..ClientConfig::default()
    })
}

async fn lay(
    client: &Client,
    reference: &Reference,
    layer: &OciDescriptor,
    root: &Path,
) -> Result<(), NoImage> {
    let packed = root.with_extension("layer");
    let worker = |error: io::Error| NoImage::trouble(reference, error);
    let file = tokio::fs::File::create(&packed).await.map_err(worker)?;
    // Checks the layer's digest.
    let pulled = client.pull_blob(reference, layer, file).await;
    pulled.map_err(|error| NoImage::of(reference, &error))?;
    let (from, to) = (packed.clone(), root.to_owned());
    let laid = tokio::task::spawn_blocking(move || layers::apply(&from, &to)).await;
    let laid = laid.map_err(|error| NoImage::refused(reference, error))?;
    laid.map_err(|error| NoImage::unpacking(reference, &error))?;
    tokio::fs::remove_file(packed).await.map_err(worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_lacks_is_made_inside_it() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path(), root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(other.path(), root.path().join("var")).unwrap();
        complete(root.path()).unwrap();
        assert!(root.path().join("proc").is_dir());
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        complete(root.path()).unwrap();
    }

    #[test]
    fn a_configuration_may_say_nothing_of_its_environment() {
        for text in ["{}", r#"{"config": null}"#, r#"{"config": {"Env": null}}"#] {
            let read: Configuration = serde_json::from_str(text).unwrap();
            assert!(read.config.unwrap_or_default().environment.is_none());
        }
    }
}
