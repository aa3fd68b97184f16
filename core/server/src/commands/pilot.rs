//! `spinor pilot` and `spinor ce`: what supply sends, where, and what becomes of it.

use crate::{
    cli::{Ce, Pilot, Server},
    client::Client,
    show,
};
use serde_json::{Value, json};
use spinor_api::{supply::QueueView, views::PilotView};
use std::io::Write;

fn of(vo: Option<String>) -> String {
    vo.map(|vo| format!("vo={vo}")).unwrap_or_default()
}

/// Does what the command line says.
pub async fn run(server: &Server, command: Pilot) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    match command {
        Pilot::List { vo, ended } => {
            let path = format!("/api/pilots?ended={ended}&{}", of(vo));
            list(server, client.get(&path).await?)
        }
        Pilot::Show { stamp } => {
            let pilot: PilotView = client.get(&format!("/api/pilots/{stamp}")).await?;
            if server.json {
                return show::json(&pilot);
            }
            let fields = serde_json::to_value(&pilot)?;
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let rows = fields.as_object().into_iter().flatten();
            show::table(["", ""], rows.map(|(name, value)| [name.clone(), text(value)]));
            Ok(())
        }
        Pilot::Logs { stamp, stream } => {
            let path = format!("/api/pilots/{stamp}/logs?stream={stream}");
            Ok(std::io::stdout().write_all(&client.bytes(&path).await?)?)
        }
        Pilot::Kill { stamp } => {
            let done: Value = client.post(&format!("/api/pilots/{stamp}/kill"), &json!({})).await?;
            if server.json {
                return show::json(&done);
            }
            println!("{stamp}: its CE was told to end it");
            Ok(())
        }
    }
}

fn list(server: &Server, pilots: Vec<PilotView>) -> anyhow::Result<()> {
    if server.json {
        return show::json(&pilots);
    }
    show::table(
        ["pilot", "CE", "queue", "cores", "status", "jobs", "sent", ""],
        pilots.into_iter().map(|p| {
            let (cores, jobs) = (p.cores.to_string(), p.jobs_run.to_string());
            let sent = show::time(&p.submitted);
            [p.stamp, p.ce, p.queue, cores, p.status, jobs, sent, p.status_reason]
        }),
    );
    Ok(())
}

/// Does what the command line says.
pub async fn ce(server: &Server, command: Ce) -> anyhow::Result<()> {
    let Ce::List { vo } = command;
    let client = Client::from_options(server).await?;
    let queues: Vec<QueueView> = client.get(&format!("/api/ces?{}", of(vo))).await?;
    if server.json {
        return show::json(&queues);
    }
    show::table(
        ["CE", "queue", "backend", "cores", "jobs", "pilots", "coming", "sent", "why not more"],
        queues.into_iter().map(|q| {
            let pilots = format!("{}/{}", q.here, q.max_pilots);
            let [cores, coming, sent] = [q.cores, q.coming, q.sent].map(|n| n.to_string());
            [q.ce, q.queue, q.backend, cores, q.demand.to_string(), pilots, coming, sent, q.why]
        }),
    );
    Ok(())
}
