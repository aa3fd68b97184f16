//! `spinor pilot`: what supply sent, and what becomes of it.

use crate::{
    cli::{Pilot, Server},
    client::{Client, of},
    show,
};
use serde_json::{Value, json};
use spinor_api::views::PilotView;
use std::io::Write;

/// Does what the command line says.
pub async fn run(server: &Server, command: Pilot) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    match command {
        Pilot::List { vo, ended } => {
            let path = format!("/api/pilots?ended={ended}&{}", of(vo.as_ref()));
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
    table(pilots);
    Ok(())
}

/// Pilots, a line each.
pub fn table(pilots: Vec<PilotView>) {
    show::table(
        ["pilot", "CE", "queue", "cores", "status", "jobs", "sent", ""],
        pilots.into_iter().map(|p| {
            let (cores, jobs) = (p.cores.to_string(), p.jobs_run.to_string());
            let sent = show::time(&p.submitted);
            [p.stamp, p.ce, p.queue, cores, p.status, jobs, sent, p.status_reason]
        }),
    );
}
