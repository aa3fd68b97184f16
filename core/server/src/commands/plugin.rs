//! `spinor plugin`.

use crate::{
    cli::{Bind, Plugin, Server},
    client::Client,
    show,
};
use anyhow::{Context, bail};
use serde_json::json;
use spinor_api::administration::{Applied, BindingView, PluginView};
use spinor_model::registry::{Binding, BindingPath, VoDocument};
use std::path::Path;

/// Does what the command line says.
pub async fn run(server: &Server, command: Plugin) -> anyhow::Result<()> {
    match command {
        Plugin::List => list(server).await,
        Plugin::Inspect { plugin } => inspect(server, &plugin).await,
        Plugin::Bind(bind) => self::bind(server, bind).await,
    }
}

async fn list(server: &Server) -> anyhow::Result<()> {
    let client = Client::from_options(server)?;
    let bindings: Vec<BindingView> = client.get("/api/bindings").await?;
    let plugins: Vec<PluginView> = client.get("/api/plugins").await?;
    if server.json {
        return show::json(&json!({"bindings": bindings, "plugins": plugins}));
    }
    show::bindings(&bindings);
    show::table(
        ["plugin", "version", "digest", "KiB", "asks for", ""],
        plugins.into_iter().map(|p| {
            let size = (p.size / 1024).to_string();
            [p.plugin, p.version, show::short(&p.digest), size, p.capabilities.join(" "), p.summary]
        }),
    );
    Ok(())
}

async fn inspect(server: &Server, wanted: &str) -> anyhow::Result<()> {
    let plugins: Vec<PluginView> = Client::from_options(server)?.get("/api/plugins").await?;
    let matches = |p: &&PluginView| {
        let full = format!("{}@{}", p.plugin, p.version);
        p.plugin == wanted || full == wanted || (wanted.len() >= 6 && p.digest.starts_with(wanted))
    };
    let found: Vec<&PluginView> = plugins.iter().filter(matches).collect();
    if found.is_empty() {
        bail!("there is no plugin `{wanted}`; `spinor plugin list` shows what there is");
    }
    if server.json {
        return show::json(&found);
    }
    for plugin in found {
        println!("{} {}: {}", plugin.plugin, plugin.version, plugin.summary);
        println!("  digest     {}", plugin.digest);
        println!("  size       {} bytes", plugin.size);
        println!("  licence    {}", plugin.license);
        let asks = if plugin.capabilities.is_empty() { "nothing but log" } else { "" };
        println!("  asks for   {asks}{}", plugin.capabilities.join(", "));
        println!("  imports    {}", plugin.imports.join("\n             "));
        let schema = serde_json::to_string_pretty(&plugin.settings_schema)?;
        println!("  settings   {}", schema.replace('\n', "\n             "));
    }
    Ok(())
}

async fn bind(server: &Server, bind: Bind) -> anyhow::Result<()> {
    let client = Client::from_options(server)?;
    let path: BindingPath = bind.path.parse()?;
    let route = format!("/api/vos/{}/bindings/{path}", bind.vo);
    let applied: Applied = match &bind.plugin {
        None => client.delete(&route).await?,
        Some(plugin) => {
            let document = client.bytes(&format!("/api/vos/{}", bind.vo)).await?;
            let document = VoDocument::from_toml(&String::from_utf8_lossy(&document))?;
            let present = document.bindings().find(|(p, _)| *p == path).map(|(_, b)| b.clone());
            let binding = binding(&client, &bind, plugin, present).await?;
            client.put(&route, &binding).await?
        }
    };
    if server.json {
        return show::json(&applied);
    }
    println!("VO {} is at revision {}", applied.vo, applied.revision);
    show::bindings(&applied.bindings);
    Ok(())
}

/// The new binding: what is not said stays as it was.
async fn binding(
    client: &Client,
    bind: &Bind,
    plugin: &str,
    present: Option<Binding>,
) -> anyhow::Result<Binding> {
    let (name, version) = if Path::new(plugin).is_file() {
        let component = std::fs::read(plugin).with_context(|| format!("cannot read {plugin}"))?;
        let uploaded: PluginView = client.post_bytes("/api/plugins", component).await?;
        (uploaded.plugin, format!("={}", uploaded.version))
    } else {
        match plugin.split_once('@') {
            Some((name, version)) => (name.to_owned(), exact_or_range(version)),
            None => (plugin.to_owned(), "*".to_owned()),
        }
    };
    let settings = match &bind.settings {
        Some(text) => serde_json::from_str(text).context("--settings is no JSON")?,
        None => present.as_ref().map_or_else(|| json!({}), |binding| binding.settings.clone()),
    };
    Ok(Binding {
        plugin: name,
        version: version.parse().with_context(|| format!("`{version}` is no version range"))?,
        settings,
        grants: present.map(|binding| binding.grants).unwrap_or_default(),
    })
}

/// A full version means that very one; anything else is a range.
fn exact_or_range(text: &str) -> String {
    match text.parse::<semver::Version>() {
        Ok(version) => format!("={version}"),
        Err(_) => text.to_owned(),
    }
}
