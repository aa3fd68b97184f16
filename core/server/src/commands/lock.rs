//! Lock files: which bytes each place runs, so that another installation can run the same.

use crate::{cli::Server, client::Client, show};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use spinor_api::administration::PlaceView;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// A lock file: which bytes each place of each VO runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    /// By VO and place.
    places: BTreeMap<String, BTreeMap<String, Locked>>,
}

/// What a place runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    /// Plugin and version, for people.
    plugin: String,
    /// SHA-256 of the component.
    digest: String,
}

/// The pins of a VO in a lock file, as a request wants them.
pub fn pins(file: &Path, vo: &str) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let Some(places) = lock.places.get(vo) else {
        let known: Vec<_> = lock.places.keys().cloned().collect();
        bail!("{} has no VO {vo}; it has {}", file.display(), known.join(", "));
    };
    let pins = places.iter().map(|(path, locked)| format!("{path}={}", locked.digest));
    Ok(pins.collect::<Vec<_>>().join(","))
}

/// Writes down which bytes every place runs.
pub async fn lock(server: &Server, components: Option<&Path>) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let places: Vec<PlaceView> = client.get("/api/places").await?;
    let (mut lock, mut saved) = (Lock::default(), BTreeSet::new());
    for place in places {
        for there in place.versions {
            let key = match there.state.as_str() {
                "shadow" | "canary" => format!("{}:candidate", there.path),
                "stand-in" | "draining" => continue,
                _ => there.path.clone(),
            };
            if let Some(directory) = components
                && saved.insert(there.digest.clone())
            {
                save(&client, directory, &there.digest).await?;
            }
            let plugin = format!("{} {}", there.plugin, there.version);
            let locked = Locked { plugin, digest: there.digest };
            lock.places.entry(there.vo).or_default().entry(key).or_insert(locked);
        }
    }
    if server.json {
        return show::json(&lock);
    }
    print!("{}", toml::to_string(&lock)?);
    Ok(())
}

async fn save(client: &Client, directory: &Path, digest: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let bytes = client.bytes(&format!("/api/plugins/{digest}/component")).await?;
    let file = directory.join(format!("{digest}.wasm"));
    std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
