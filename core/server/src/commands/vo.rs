//! `spinor apply` and `spinor vo`: documents and their revisions.

use crate::{
    cli::{Server, Vo},
    client::Client,
    commands::lock::pins,
    show,
};
use anyhow::Context;
use similar::TextDiff;
use spinor_api::administration::{Applied, RevisionView};
use spinor_model::registry::VoDocument;
use std::path::Path;

/// Puts a document in force.
pub async fn apply(server: &Server, document: &Path, lock: Option<&Path>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(document)
        .with_context(|| format!("cannot read {}", document.display()))?;
    let parsed =
        VoDocument::from_toml(&text).with_context(|| format!("in {}", document.display()))?;
    let mut route = format!("/api/vos/{}", parsed.vo);
    if let Some(file) = lock {
        let pins = pins(file, parsed.vo.as_str())?;
        route.push_str(&format!("?pins={pins}"));
    }
    let done: Applied = Client::from_options(server).await?.put_text(&route, text).await?;
    show::applied(server.json, &done)
}

/// Prints what every VO inherits, or puts it in force.
pub async fn installation(server: &Server, document: Option<&Path>) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let Some(file) = document else {
        print!("{}", String::from_utf8_lossy(&client.bytes("/api/installation").await?));
        return Ok(());
    };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let done: Vec<Applied> = client.put_text("/api/installation", text).await?;
    if server.json {
        return show::json(&done);
    }
    println!("in force for {} VO(s)", done.len());
    for vo in done {
        show::bindings(&vo.bindings);
    }
    Ok(())
}

/// Does what the command line says.
pub async fn run(server: &Server, command: Vo) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    match command {
        Vo::Show { vo, revision } => {
            print!("{}", text(&client, &vo, revision).await?);
            Ok(())
        }
        Vo::Revisions { vo } => revisions(server, &client, &vo).await,
        Vo::Diff { vo, from, to } => {
            let (before, after) =
                (text(&client, &vo, Some(from)).await?, text(&client, &vo, to).await?);
            let to = to.map_or_else(|| "in force".to_owned(), |to| format!("revision {to}"));
            let diff = TextDiff::from_lines(&before, &after);
            print!("{}", diff.unified_diff().header(&format!("revision {from}"), &to));
            Ok(())
        }
        Vo::Rollback { vo, to } => {
            let none = serde_json::json!({});
            let done: Applied =
                client.post(&format!("/api/vos/{vo}/rollback?to={to}"), &none).await?;
            show::applied(server.json, &done)
        }
    }
}

async fn text(client: &Client, vo: &str, revision: Option<i64>) -> anyhow::Result<String> {
    let route = match revision {
        None => format!("/api/vos/{vo}"),
        Some(revision) => format!("/api/vos/{vo}/revisions/{revision}"),
    };
    Ok(String::from_utf8_lossy(&client.bytes(&route).await?).into_owned())
}

async fn revisions(server: &Server, client: &Client, vo: &str) -> anyhow::Result<()> {
    let revisions: Vec<RevisionView> = client.get(&format!("/api/vos/{vo}/revisions")).await?;
    if server.json {
        return show::json(&revisions);
    }
    show::table(
        ["revision", "applied", "by", "action", ""],
        revisions
            .into_iter()
            .map(|r| [r.revision.to_string(), show::time(&r.applied), r.author, r.action, r.note]),
    );
    Ok(())
}
