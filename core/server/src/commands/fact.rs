//! `spinor fact`: what policies steer pilots by.

use crate::{
    cli::{Fact, Server},
    client::{Client, of},
    show,
};
use anyhow::Context;
use spinor_api::supply::{FactView, Told};

/// Does what the command line says.
pub async fn run(server: &Server, command: Fact) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let facts: Vec<FactView> = match command {
        Fact::List { vo } => client.get(&format!("/api/facts?{}", of(vo.as_ref()))).await?,
        Fact::Tell { name, values, hours, vo } => {
            let values = values.iter().map(|text| value(text)).collect::<anyhow::Result<_>>()?;
            let path = format!("/api/facts/{name}?{}", of(vo.as_ref()));
            client.put(&path, &Told { values, hours }).await?
        }
    };
    if server.json {
        return show::json(&facts);
    }
    show::table(
        ["fact", "about", "value", "told", "until"],
        facts.into_iter().map(|fact| {
            let (told, until) = (show::time(&fact.told), show::time(&fact.until));
            [fact.name, fact.subject, fact.value.to_string(), told, until]
        }),
    );
    Ok(())
}

/// `SUBJECT=VALUE`.
fn value(text: &str) -> anyhow::Result<(String, f64)> {
    let (subject, value) =
        text.split_once('=').with_context(|| format!("`{text}`: write SUBJECT=VALUE"))?;
    let value = value.parse().with_context(|| format!("`{text}`: `{value}` is no number"))?;
    Ok((subject.to_owned(), value))
}
