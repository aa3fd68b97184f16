//! Components on their way to the server: pushed, signed, compiled.

use crate::{cli::Server, client::Client, commands::oci, show};
use anyhow::{Context, bail};
use spinor_api::administration::PluginView;
use spinor_identity::signature;
use spinor_model::id::Digest;
use spinor_plugins::compiler::{Sort, compile_input};
use std::path::{Path, PathBuf};

/// A component, and where it came from.
struct Found {
    bytes: Vec<u8>,
    source: String,
}

/// Pushes what sources name.
pub async fn push(
    server: &Server,
    sources: &[String],
    vo: Option<&str>,
    key: Option<&Path>,
) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let mut pushed = Vec::new();
    for source in sources {
        for found in find(source).await? {
            pushed.push(push_one(&client, found, vo, key).await?);
        }
    }
    if server.json {
        return show::json(&pushed);
    }
    for plugin in pushed {
        println!("{} {} {}", plugin.plugin, plugin.version, plugin.digest);
    }
    Ok(())
}

async fn find(source: &str) -> anyhow::Result<Vec<Found>> {
    if let Some(reference) = oci::reference(source) {
        let (bytes, source) = oci::pull(&reference?).await?;
        return Ok(vec![Found { bytes, source }]);
    }
    let path = Path::new(source);
    if path.is_dir() {
        let mut files: Vec<PathBuf> = std::fs::read_dir(path)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
            .collect();
        files.sort();
        if files.is_empty() {
            bail!("there is no .wasm file in {source}");
        }
        return files.iter().map(|file| read(file)).collect();
    }
    Ok(vec![read(path)?])
}

fn read(file: &Path) -> anyhow::Result<Found> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(Found { bytes, source: format!("file {name}") })
}

async fn push_one(
    client: &Client,
    found: Found,
    vo: Option<&str>,
    key: Option<&Path>,
) -> anyhow::Result<PluginView> {
    let signed = match key {
        None => None,
        Some(file) => {
            let secret = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let signed = signature::sign(&secret, &Digest::of(&found.bytes));
            Some(signed.with_context(|| format!("in {}", file.display()))?)
        }
    };
    let signed = signed.map(|(public, signature)| format!("{public}:{signature}"));
    client.push(found.bytes, vo, &found.source, signed.as_deref()).await
}

/// Pushes a file, if the text names one; name and exact version of what it is.
pub async fn push_if_file(client: &Client, text: &str) -> anyhow::Result<Option<(String, String)>> {
    if !Path::new(text).is_file() {
        return Ok(None);
    }
    let pushed = push_one(client, read(Path::new(text))?, None, None).await?;
    Ok(Some((pushed.plugin, format!("={}", pushed.version))))
}

/// Puts a component into an OCI registry.
pub async fn publish(server: &Server, file: &Path, target: &str) -> anyhow::Result<()> {
    let Some(reference) = oci::reference(target) else {
        bail!("`{target}` is no registry's address: write oci://HOST/REPOSITORY:TAG");
    };
    let address = oci::publish(&reference?, read(file)?.bytes).await?;
    if server.json {
        return show::json(&serde_json::json!({"address": address}));
    }
    println!("{address}");
    Ok(())
}

/// Prints a fresh key pair.
pub fn keygen(json: bool) -> anyhow::Result<()> {
    let (secret, public) = signature::generate();
    if json {
        return show::json(&serde_json::json!({"secret": secret, "public": public}));
    }
    println!("{secret}");
    eprintln!("secret key above: keep it in a file for `spinor plugin push --key FILE`");
    eprintln!("public key for `signing.keys` of the VO's document: {public}");
    Ok(())
}

/// A full version means that very one; anything else is a range.
pub fn exact_or_range(text: &str) -> String {
    match text.parse::<semver::Version>() {
        Ok(version) => format!("={version}"),
        Err(_) => text.to_owned(),
    }
}

/// The child's side of a compilation: at low priority, with a limit on its memory.
pub fn compile(sort: Sort, memory_mb: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    nice(19)?;
    let bytes = Some(memory_mb << 20);
    setrlimit(Resource::Data, Rlimit { current: bytes, maximum: bytes })?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if let Err(error) = compile_input(sort) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    Ok(())
}
