//! `spinor site` and `spinor ce`: where pilots go, what keeps them from it, and whether that works.

use super::pilot;
use crate::{
    cli::{Ce, Server, Site, Whom},
    client::{Client, of},
    show,
};
use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spinor_api::{
    administration::Applied,
    supply::{NodeBanView, ProbeView, QueueView, SiteView},
    views::PilotView,
};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Does what the command line says.
pub async fn site(server: &Server, command: Site) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    match command {
        Site::List { vo } => {
            let sites: Vec<SiteView> =
                client.get(&format!("/api/sites?{}", of(vo.as_ref()))).await?;
            if server.json {
                return show::json(&sites);
            }
            show::table(
                ["site", "CEs", "pilots", "banned", ""],
                sites.into_iter().map(|s| {
                    let banned = if s.banned { "banned" } else { "" }.to_owned();
                    [s.site, s.ces.join("\n"), s.pilots.to_string(), banned, s.description]
                }),
            );
            Ok(())
        }
        Site::Ban { whom, reason } => ban(server, &client, "sites", &whom, Some(reason)).await,
        Site::Allow { whom } => ban(server, &client, "sites", &whom, None).await,
    }
}

/// Bans for a reason, or allows again without one.
async fn set<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    reason: Option<String>,
) -> anyhow::Result<T> {
    match reason {
        Some(reason) => client.put(path, &json!({ "reason": reason })).await,
        None => client.delete(path).await,
    }
}

async fn ban(
    server: &Server,
    client: &Client,
    what: &str,
    Whom { name, vo }: &Whom,
    reason: Option<String>,
) -> anyhow::Result<()> {
    let path = format!("/api/{what}/{name}/ban?{}", of(vo.as_ref()));
    let banned = reason.is_some();
    let applied: Applied = set(client, &path, reason).await?;
    if server.json {
        return show::json(&json!({"name": name, "banned": banned, "revision": applied.revision}));
    }
    let what = if banned { "banned" } else { "allowed again" };
    println!("{name} is {what}, with revision {} of {}'s document", applied.revision, applied.vo);
    Ok(())
}

/// Does what the command line says.
pub async fn ce(server: &Server, command: Ce) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(server).await?;
    match command {
        Ce::List { vo } => {
            let queues = queues(&client, vo.as_ref(), None).await?;
            match server.json {
                true => show::json(&queues)?,
                false => table(queues),
            }
        }
        Ce::Show { whom } => show_ce(server, &client, &whom).await?,
        Ce::Ban { whom, node: None, reason } => {
            ban(server, &client, "ces", &whom, Some(reason)).await?;
        }
        Ce::Ban { whom, node: Some(node), reason } => {
            ban_node(server, &client, &whom, &node, Some(reason)).await?;
        }
        Ce::Allow { whom, node: None } => ban(server, &client, "ces", &whom, None).await?,
        Ce::Allow { whom, node: Some(node) } => {
            ban_node(server, &client, &whom, &node, None).await?;
        }
        Ce::Nodes { vo } => nodes(server, &client, vo.as_ref()).await?,
        Ce::Test { whom, queue, wait } => {
            return test(server, &client, &whom, queue, Duration::from_secs(wait)).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ban_node(
    server: &Server,
    client: &Client,
    Whom { name, vo }: &Whom,
    node: &str,
    reason: Option<String>,
) -> anyhow::Result<()> {
    let path = format!("/api/ces/{name}/nodes/{node}/ban?{}", of(vo.as_ref()));
    let what = if reason.is_some() { "gets no more jobs" } else { "gets jobs again" };
    let told: Value = set(client, &path, reason).await?;
    if server.json {
        return show::json(&told);
    }
    println!("node {node} of {name} {what}");
    Ok(())
}

async fn nodes(server: &Server, client: &Client, vo: Option<&String>) -> anyhow::Result<()> {
    let bans: Vec<NodeBanView> = client.get(&format!("/api/nodes?{}", of(vo))).await?;
    if server.json {
        return show::json(&bans);
    }
    show::table(
        ["CE", "node", "since", "until", "why"],
        bans.into_iter().map(|ban| {
            let until =
                ban.until.map_or_else(|| "it is allowed".to_owned(), |time| show::time(&time));
            [ban.ce, ban.node, show::time(&ban.since), until, ban.reason]
        }),
    );
    Ok(())
}

/// Queues of a VO, or of one CE, of which there must be some then.
async fn queues(
    client: &Client,
    vo: Option<&String>,
    ce: Option<&str>,
) -> anyhow::Result<Vec<QueueView>> {
    let mut queues: Vec<QueueView> = client.get(&format!("/api/ces?{}", of(vo))).await?;
    if let Some(ce) = ce {
        let known: Vec<String> = queues.iter().map(|queue| queue.ce.clone()).collect();
        queues.retain(|queue| queue.ce == ce);
        if queues.is_empty() {
            bail!("there is no CE {ce}: there are {}", known.join(", "));
        }
    }
    Ok(queues)
}

fn table(queues: Vec<QueueView>) {
    show::table(
        ["CE", "queue", "backend", "cores", "jobs", "pilots", "coming", "sent", "why not more"],
        queues.into_iter().map(|q| {
            let pilots = format!("{}/{}", q.here, q.max_pilots);
            let [cores, coming, sent] = [q.cores, q.coming, q.sent].map(|n| n.to_string());
            [q.ce, q.queue, q.backend, cores, q.demand.to_string(), pilots, coming, sent, q.why]
        }),
    );
}

/// Ended pilots that are shown of a CE.
const LAST: usize = 10;

async fn show_ce(server: &Server, client: &Client, whom: &Whom) -> anyhow::Result<()> {
    let queues = queues(client, whom.vo.as_ref(), Some(&whom.name)).await?;
    let path = format!("/api/pilots?ended=true&{}", of(whom.vo.as_ref()));
    let mut pilots: Vec<PilotView> = client.get(&path).await?;
    pilots.retain(|pilot| pilot.ce == whom.name && pilot.ended.is_some());
    let last = pilots.split_off(pilots.len().saturating_sub(LAST));
    if server.json {
        return show::json(&json!({"queues": queues, "last_pilots": last}));
    }
    table(queues);
    if !last.is_empty() {
        println!("\nits last pilots:");
        pilot::table(last);
    }
    Ok(())
}

/// A step on the way of a probe, as it is shown.
fn step(as_json: bool, what: &str, took: Duration, good: bool, outcome: &str) {
    if !as_json {
        let mark = if good { "ok" } else { "FAILED" };
        println!("{mark:6} {:>8.2} s  {what}: {outcome}", took.as_secs_f64());
    }
}

async fn test(
    server: &Server,
    client: &Client,
    whom: &Whom,
    queue: Option<String>,
    wait: Duration,
) -> anyhow::Result<ExitCode> {
    let queues = queues(client, whom.vo.as_ref(), Some(&whom.name)).await?;
    let names: Vec<&str> = queues.iter().map(|queue| queue.queue.as_str()).collect();
    let queue = match (queue, names.as_slice()) {
        (Some(queue), _) => queue,
        (None, [only]) => (*only).to_owned(),
        (None, _) => bail!("it has several queues: say --queue, one of {}", names.join(", ")),
    };
    let path = format!("/api/ces/{}/test?queue={queue}&{}", whom.name, of(whom.vo.as_ref()));
    let probe: ProbeView = client.post(&path, &json!({})).await?;
    for s in &probe.steps {
        step(server.json, &s.step, Duration::from_secs_f64(s.took_ms / 1e3), s.good, &s.outcome);
    }
    let trouble = probe.steps.iter().find(|step| !step.good).map(|step| step.outcome.clone());
    let pilot = match &probe.stamp {
        Some(stamp) if trouble.is_none() => Some(follow(server, client, stamp, wait).await?),
        _ => None,
    };
    if server.json {
        show::json(&json!({"steps": probe.steps, "pilot": pilot}))?;
    }
    let good = pilot.as_ref().is_some_and(|pilot| pilot.started.is_some());
    match (trouble, pilot) {
        (Some(why), _) => eprintln!("{} does not take pilots: {why}", whom.name),
        (None, Some(pilot)) if !good => {
            eprintln!(
                "pilot {} did not call: see `spinor pilot logs {}`",
                pilot.stamp, pilot.stamp
            );
        }
        _ => {}
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// Follows a pilot until it has called or has ended.
async fn follow(
    server: &Server,
    client: &Client,
    stamp: &str,
    wait: Duration,
) -> anyhow::Result<PilotView> {
    let (started, mut status) = (Instant::now(), String::new());
    loop {
        let pilot: PilotView =
            client.get(&format!("/api/pilots/{stamp}")).await.context("the probe's pilot")?;
        if pilot.status != status {
            let good = !matches!(pilot.status.as_str(), "Failed" | "Aborted");
            let words = format!("{} {}", pilot.status, pilot.status_reason);
            step(server.json, "pilot", started.elapsed(), good, words.trim());
            status.clone_from(&pilot.status);
        }
        if pilot.started.is_some() || pilot.ended.is_some() || started.elapsed() > wait {
            let good = pilot.started.is_some();
            let outcome =
                if good { "it called: it can reach the server" } else { "it did not call" };
            step(server.json, "call", started.elapsed(), good, outcome);
            return Ok(pilot);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
