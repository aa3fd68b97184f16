//! `spinor plugin`.

use crate::{
    cli::{Bind, Plugin, Server},
    client::Client,
    commands::{component, lock, rollout},
    show,
};
use anyhow::{Context, bail};
use serde_json::json;
use spinor_api::{
    administration::{Applied, BindingView, Collected, PluginView, ReportView},
    plugins::LineView,
};
use spinor_model::registry::{Binding, BindingPath, VoDocument};
use std::{path::Path, time::Duration};

/// Does what the command line says.
pub async fn run(server: &Server, command: Plugin) -> anyhow::Result<()> {
    match command {
        Plugin::Push { sources, vo, key } => {
            component::push(server, &sources, vo.as_deref(), key.as_deref()).await
        }
        Plugin::List => list(server).await,
        Plugin::Inspect { plugin } => inspect(server, &plugin).await,
        Plugin::Bind(bind) => self::bind(server, bind).await,
        Plugin::Replay(replay) => rollout::replay(server, replay).await,
        Plugin::Rollout(options) => rollout::rollout(server, options).await,
        Plugin::Promote(place) => rollout::order(server, &place, "/promote").await,
        Plugin::Rollback { place, to } => {
            let to = to.map(|to| format!("?to={to}")).unwrap_or_default();
            rollout::order(server, &place, &format!("/rollback{to}")).await
        }
        Plugin::Disable(place) => rollout::order(server, &place, "/disable").await,
        Plugin::Status { vo, path, watch } => {
            rollout::status(server, vo.as_deref(), path.as_deref(), watch).await
        }
        Plugin::History { vo, path, limit } => rollout::history(server, &vo, path, limit).await,
        Plugin::Logs { vo, plugin, limit, follow } => logs(server, vo, plugin, limit, follow).await,
        Plugin::Gc { dry_run } => collect(server, dry_run).await,
        Plugin::Lock { components } => lock::lock(server, components.as_deref()).await,
        Plugin::Keygen => component::keygen(server.json),
        Plugin::Publish { component, target } => {
            component::publish(server, &component, &target).await
        }
    }
}

async fn list(server: &Server) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
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

/// What a component's file is, and whether the server could run it.
async fn inspect_file(server: &Server, file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let client = Client::from_options(server).await?;
    let report: ReportView = client.post_bytes("/api/plugins/inspect", bytes).await?;
    if server.json {
        return show::json(&report);
    }
    if let Some(version) = &report.version {
        println!("{} {}: {}", version.plugin, version.version, version.summary);
    }
    println!("  digest     {}", report.digest);
    println!("  size       {} bytes", report.size);
    println!("  kind       {}", report.kind.as_deref().unwrap_or("none"));
    let (wasi, own): (Vec<_>, Vec<_>) =
        report.imports.into_iter().partition(|import| import.starts_with("wasi:"));
    println!("  imports    {}", own.join("\n             "));
    if !wasi.is_empty() {
        println!("             wasi: {} interfaces, linked inert: nothing behind them", wasi.len());
    }
    println!("  risk       {}: {}", report.risk, report.risk_reasons.join("; "));
    match report.problems.is_empty() {
        true => println!("  this server can run it"),
        false => println!("  this server cannot run it:\n    {}", report.problems.join("\n    ")),
    }
    Ok(())
}

async fn inspect(server: &Server, wanted: &str) -> anyhow::Result<()> {
    if Path::new(wanted).is_file() {
        return inspect_file(server, Path::new(wanted)).await;
    }
    let plugins: Vec<PluginView> = Client::from_options(server).await?.get("/api/plugins").await?;
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
        println!("  owner      {}", plugin.owners.join(", "));
        println!("  from       {}", plugin.source);
        if !plugin.signers.is_empty() {
            println!("  signed by  {}", plugin.signers.join(", "));
        }
        if !plugin.bound.is_empty() {
            println!("  bound      {}", plugin.bound.join("\n             "));
        }
        let asks = if plugin.capabilities.is_empty() { "nothing but log" } else { "" };
        println!("  asks for   {asks}{}", plugin.capabilities.join(", "));
        println!("  imports    {}", plugin.imports.join("\n             "));
        let schema = serde_json::to_string_pretty(&plugin.settings_schema)?;
        println!("  settings   {}", schema.replace('\n', "\n             "));
    }
    Ok(())
}

async fn bind(server: &Server, bind: Bind) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let path: BindingPath = bind.place.path.parse()?;
    let route = format!("/api/vos/{}/bindings/{path}", bind.place.vo);
    let applied: Applied = match &bind.plugin {
        None => client.delete(&route).await?,
        Some(plugin) => {
            let document = client.bytes(&format!("/api/vos/{}", bind.place.vo)).await?;
            let document = VoDocument::from_toml(&String::from_utf8_lossy(&document))?;
            let binding = binding(&client, &bind, plugin, document.binding(&path).cloned()).await?;
            client.put(&route, &binding).await?
        }
    };
    show::applied(server.json, &applied)
}

/// The new binding: what is not said stays as it was.
async fn binding(
    client: &Client,
    bind: &Bind,
    plugin: &str,
    present: Option<Binding>,
) -> anyhow::Result<Binding> {
    let (name, version) = match component::push_if_file(client, plugin).await? {
        Some(pushed) => pushed,
        None => match plugin.split_once('@') {
            Some((name, version)) => (name.to_owned(), component::exact_or_range(version)),
            None => (plugin.to_owned(), "*".to_owned()),
        },
    };
    let version = version.parse().with_context(|| format!("`{version}` is no version range"))?;
    let settings = match &bind.settings {
        Some(text) => serde_json::from_str(text).context("--settings is no JSON")?,
        None => present.as_ref().map_or_else(|| json!({}), |binding| binding.settings.clone()),
    };
    let fallback = match &bind.fallback {
        Some(text) => serde_json::from_value(json!(text))
            .ok()
            .with_context(|| format!("--fallback {text}: say previous, built-in or hold"))?,
        None => present.as_ref().map(|binding| binding.fallback).unwrap_or_default(),
    };
    let grants = present.map(|binding| binding.grants).unwrap_or_default();
    Ok(Binding { grants, fallback, ..Binding::new(&name, version, settings) })
}

async fn logs(
    server: &Server,
    vo: Option<String>,
    plugin: Option<String>,
    limit: u32,
    follow: bool,
) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let mut after = 0;
    loop {
        let mut query = vec![("after", after.to_string()), ("limit", limit.to_string())];
        query.extend(vo.clone().map(|vo| ("vo", vo)));
        query.extend(plugin.clone().map(|plugin| ("plugin", plugin)));
        let lines: Vec<LineView> = client.get_with("/api/plugins/logs", &query).await?;
        after = lines.last().map_or(after, |line| line.id);
        if server.json {
            show::json(&lines)?;
        } else {
            for line in lines {
                let (time, level) = (show::time(&line.time), line.level.to_uppercase());
                println!("{time} {level:5} {}: {}", line.plugin, line.message);
            }
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn collect(server: &Server, dry_run: bool) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let route = format!("/api/plugins/gc?dry_run={dry_run}");
    let collected: Collected = client.post(&route, &json!({})).await?;
    if server.json {
        return show::json(&collected);
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    for title in &collected.removed {
        println!("{title}: {verb}");
    }
    for title in &collected.draining {
        println!("{title}: draining");
    }
    if collected.removed.is_empty() && collected.draining.is_empty() {
        println!("every version is needed");
    }
    Ok(())
}
