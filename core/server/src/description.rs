//! Job descriptions on the client's side: local files become an uploaded sandbox.

use crate::client::Client;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use spinor_model::jdl;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Reads a description and uploads the files of its `input_sandbox`, which lie beside it.
pub async fn prepare(client: &Client, text: &str, base: &Path) -> anyhow::Result<Value> {
    let mut description: Value = serde_json::from_str(text).context(
        "the description is no JSON, nor does the file's name end with .jdl, as a JDL's does",
    )?;
    let Some(object) = description.as_object_mut() else {
        bail!("the description is no JSON object");
    };
    let Some(files) = object.remove("input_sandbox") else { return Ok(description) };
    let files: BTreeSet<PathBuf> =
        serde_json::from_value(files).context("`input_sandbox` is no list of file names")?;
    let digest = client.upload(pack(base, &files)?).await?;
    let uploaded = object.entry("input_sandboxes").or_insert_with(|| Value::Array(Vec::new()));
    match uploaded.as_array_mut() {
        Some(list) => list.push(digest.to_string().into()),
        None => bail!("`input_sandboxes` is no list"),
    }
    Ok(description)
}

/// Reads a JDL and uploads the files of its `InputSandbox` that lie beside it; the JDL with what was
/// uploaded in their place.
pub async fn prepare_jdl(client: &Client, text: &str, base: &Path) -> anyhow::Result<String> {
    let mut record = jdl::parse(text)?;
    let items = record.list("InputSandbox");
    let (local, mut kept): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| jdl::is_local(item));
    if local.is_empty() {
        return Ok(text.to_owned());
    }
    let local: BTreeSet<PathBuf> = local.into_iter().map(PathBuf::from).collect();
    let content = pack(base, &local)?;
    let (size, digest) = (content.len(), client.upload(content).await?);
    let info = json!({"checksum_algorithm": "sha256", "checksum": digest, "size": size, "format": "tar.zst"});
    let named: Value = client.post("/api/jobs/sandbox", &info).await?;
    kept.push(named["pfn"].as_str().context("the server names no sandbox")?.to_owned());
    let kept = kept.into_iter().map(jdl::Value::Text).collect();
    record.0.retain(|(name, _)| !name.eq_ignore_ascii_case("InputSandbox"));
    record.0.push(("InputSandbox".to_owned(), jdl::Value::List(kept)));
    Ok(record.to_string())
}

/// Packs files that lie in a directory.
fn pack(base: &Path, files: &BTreeSet<PathBuf>) -> anyhow::Result<Vec<u8>> {
    for file in files {
        let inside = file.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if !inside {
            bail!("the input sandbox names {}: name files beside the description", file.display());
        }
        let path = base.join(file);
        if !path.is_file() {
            bail!(
                "the input sandbox names {}, but there is no file {}",
                file.display(),
                path.display()
            );
        }
    }
    Ok(spinor_pilot::sandbox::pack(base, files)?)
}
