//! Images come from their registries, layer by layer.

use super::layers;
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError as Error,
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};
use serde::Deserialize;
use std::{
    fs::{self, File},
    io,
    path::Path,
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

    fn of(reference: &Reference, error: &Error) -> Self {
        match error {
            Error::RequestError(why) => Self::trouble(reference, root_of(why)),
            Error::IoError(_) => Self::trouble(reference, error),
            Error::ServerError { code, .. } if *code >= 500 => Self::trouble(reference, error),
            _ => Self::refused(reference, error),
        }
    }
}

/// What lies under an error: `reqwest` says little itself.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    format!("{error}: {deepest}")
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    config: Inner,
}

#[derive(Default, Deserialize)]
struct Inner {
    #[serde(default, rename = "Env")]
    environment: Vec<String>,
}

/// Brings an image into an empty directory; its environment.
pub async fn pull(name: &str, root: &Path) -> Result<Vec<(String, String)>, NoImage> {
    let reference: Reference = name.parse().map_err(|error| NoImage::refused(name, error))?;
    let client = client(&reference);
    let trouble = |error: Error| NoImage::of(&reference, &error);
    let pulled = client.pull_manifest_and_config(&reference, &RegistryAuth::Anonymous).await;
    let (manifest, digest, configuration) = pulled.map_err(trouble)?;
    let bytes: i64 = manifest.layers.iter().map(|layer| layer.size).sum();
    tracing::info!(image = %reference, digest, mb = bytes >> 20, "fetching an image");
    for layer in &manifest.layers {
        lay(&client, &reference, layer, root).await.map_err(trouble)?;
    }
    complete(root).map_err(|error| NoImage::trouble(name, error))?;
    let configuration: Configuration =
        serde_json::from_str(&configuration).map_err(|error| NoImage::refused(name, error))?;
    let variables = configuration.config.environment;
    let pair = |text: String| text.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    Ok(variables.into_iter().filter_map(pair).collect())
}

/// Makes what is mounted upon: images seldom have all of it.
pub fn complete(root: &Path) -> io::Result<()> {
    for folder in ["dev", "proc", "sys", "tmp", "var/tmp", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for file in ["passwd", "group", "hosts", "resolv.conf"] {
        // What is there, be it a link to nowhere, stays.
        match File::create_new(root.join("etc").join(file)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// This machine's registries are spoken to without TLS, as other tools do.
fn client(reference: &Reference) -> Client {
    let host = reference.resolve_registry().split(':').next().unwrap_or_default();
    let here = host == "localhost" || host == "127.0.0.1";
    let protocol = if here { ClientProtocol::Http } else { ClientProtocol::Https };
    Client::new(ClientConfig { protocol, ..ClientConfig::default() })
}

async fn lay(
    client: &Client,
    reference: &Reference,
    layer: &OciDescriptor,
    root: &Path,
) -> Result<(), Error> {
    let packed = root.with_extension("layer");
    // Checks the layer's digest.
    client.pull_blob(reference, layer, tokio::fs::File::create(&packed).await?).await?;
    let (from, to) = (packed.clone(), root.to_owned());
    tokio::task::spawn_blocking(move || layers::apply(&from, &to))
        .await
        .map_err(io::Error::other)??;
    tokio::fs::remove_file(packed).await?;
    Ok(())
}
