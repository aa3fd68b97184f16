//! `spinor demo`: a server on a fresh data directory, a campaign of two communities through HTTP like
//! anyone else's, a policy swapped in the middle, and every output checked.

mod campaign;
mod stage;
mod verdict;
mod watch;

use crate::{cli, client::Client};
use anyhow::Context;
use campaign::{Campaign, Submission};
use stage::Stage;
use std::{process::ExitCode, time::Duration};

/// A submission that has been taken on.
pub struct Taken {
    /// What was submitted.
    pub submission: Submission,
    /// Its jobs.
    pub jobs: Vec<i64>,
    /// Its owner's client.
    pub client: Client,
}

/// Runs the demo.
pub async fn run(options: cli::Demo) -> anyhow::Result<ExitCode> {
    let scratch = tempfile::tempdir()?;
    let data = options.data.clone().unwrap_or_else(|| scratch.path().join("data"));
    if data.exists() {
        anyhow::bail!("{} exists: the demo begins with a fresh data directory", data.display());
    }
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let data = data.canonicalize()?;
    let campaign = Campaign::read(options.campaign.as_deref(), &scratch.path().join("campaign"))?;
    println!("{}", campaign.title);
    let stage = Stage::set(&data, options.database.clone()).await?;
    println!("server at {}, data in {}", stage.url, data.display());
    let played = play(&stage, &campaign, &options).await;
    stage.clear().await;
    let good = played?;
    println!("{}", if good { "all is as it should be" } else { "NOT all is as it should be" });
    Ok(ExitCode::from(u8::from(!good)))
}

async fn play(stage: &Stage, campaign: &Campaign, options: &cli::Demo) -> anyhow::Result<bool> {
    stage.apply(campaign).await?;
    let taken = stage.submit(campaign).await?;
    let timeout = Duration::from_secs(options.timeout);
    let ended = watch::watch(stage, campaign, &taken, timeout).await?;
    let mut good = ended;
    good &= verdict::explain_waiting(&taken).await?;
    good &= verdict::outputs(campaign, &taken).await?;
    good &= verdict::placement(stage, campaign).await?;
    good &= verdict::usage(stage, campaign).await?;
    Ok(good)
}
