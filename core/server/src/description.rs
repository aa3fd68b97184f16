//! Job descriptions on the client's side: local files become an uploaded sandbox.

use crate::client::Client;
use anyhow::{Context, bail};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Reads a description and uploads the files of its `input_sandbox`, which lie beside it.
pub async fn prepare(client: &Client, text: &str, base: &Path) -> anyhow::Result<Value> {
    let mut description: Value =
        serde_json::from_str(text).context("the description is no JSON")?;
    let Some(object) = description.as_object_mut() else {
        bail!("the description is no JSON object");
    };
    let Some(files) = object.remove("input_sandbox") else { return Ok(description) };
    let files: BTreeSet<PathBuf> =
        serde_json::from_value(files).context("`input_sandbox` is no list of file names")?;
    for file in &files {
        let inside = file.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if !inside {
            bail!("`input_sandbox` names {}: name files beside the description", file.display());
        }
        let path = base.join(file);
        if !path.is_file() {
            bail!(
                "`input_sandbox` names {}, but there is no file {}",
                file.display(),
                path.display()
            );
        }
    }
    let digest = client.upload(spinor_pilot::sandbox::pack(base, &files)?).await?;
    let uploaded = object.entry("input_sandboxes").or_insert_with(|| Value::Array(Vec::new()));
    match uploaded.as_array_mut() {
        Some(list) => list.push(digest.to_string().into()),
        None => bail!("`input_sandboxes` is no list"),
    }
    Ok(description)
}
