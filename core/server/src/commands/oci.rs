//! Components in OCI registries, as the WebAssembly tools keep them: one layer `application/wasm` and a
//! config `application/vnd.wasm.config.v0+json`. Named by tag, recorded by digest.

use anyhow::{Context, bail};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, Config, ImageLayer},
    secrets::RegistryAuth,
};
use spinor_plugins::inspect::Anatomy;

const LAYER: &str = "application/wasm";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The reference in `oci://HOST/REPOSITORY:TAG`.
pub fn reference(text: &str) -> Option<anyhow::Result<Reference>> {
    let name = text.strip_prefix("oci://")?;
    let parsed = name.parse();
    Some(parsed.with_context(|| format!("`{text}`: write oci://HOST/REPOSITORY:TAG")))
}

fn client(reference: &Reference) -> Client {
    let protocol = spinor_pilot::protocol(reference);
    Client::new(ClientConfig { protocol, ..ClientConfig::default() })
}

/// From SPINOR_REGISTRY_USER and SPINOR_REGISTRY_PASSWORD, if they are set.
fn auth() -> RegistryAuth {
    match (std::env::var("SPINOR_REGISTRY_USER"), std::env::var("SPINOR_REGISTRY_PASSWORD")) {
        (Ok(user), Ok(password)) => RegistryAuth::Basic(user, password),
        _ => RegistryAuth::Anonymous,
    }
}

/// A component, and its address by digest.
pub async fn pull(reference: &Reference) -> anyhow::Result<(Vec<u8>, String)> {
    let pulled = client(reference).pull(reference, &auth(), vec![LAYER]).await;
    let image = pulled.with_context(|| format!("cannot pull {reference}"))?;
    let digest = image.digest.with_context(|| format!("{reference} has no digest"))?;
    let [layer] = &image.layers[..] else {
        bail!("{reference} has {} layers, a component has one", image.layers.len());
    };
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    Ok((layer.data.to_vec(), format!("oci://{repository}@{digest}")))
}

/// Puts a component under a tag; its address.
pub async fn publish(reference: &Reference, component: Vec<u8>) -> anyhow::Result<String> {
    let anatomy = Anatomy::of(&component).context("that is no component")?;
    let layer = ImageLayer::new(component, LAYER.to_owned(), None);
    let config = serde_json::json!({
        "created": jiff::Timestamp::now().to_string(),
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.sha256_digest()],
        "component": {"exports": anatomy.exports, "imports": anatomy.imports, "target": null},
    });
    let config = Config::new(serde_json::to_vec(&config)?, CONFIG.to_owned(), None);
    let pushed = client(reference).push(reference, &[layer], config, &auth(), None).await;
    Ok(pushed.with_context(|| format!("cannot push {reference}"))?.manifest_url)
}
