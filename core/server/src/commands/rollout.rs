//! Candidates: asked, let in, promoted, put back; and how they do.

use crate::{
    cli::{CandidateOptions, Place, Replay, Rollout, Server},
    client::Client,
    commands::component::{exact_or_range, push_if_file},
    show,
};
use anyhow::{Context, bail};
use serde_json::json;
use spinor_api::administration::{Applied, HistoryView, PlaceView, ReplayRequest};
use spinor_lifecycle::replay::Replay as Replayed;
use spinor_model::{
    policy::Differences,
    registry::{Binding, BindingPath, Candidate, Stage, VoDocument},
};
use std::time::Duration;

fn route(place: &Place, rest: &str) -> anyhow::Result<String> {
    let path: BindingPath = place.path.parse()?;
    Ok(format!("/api/vos/{}/bindings/{path}{rest}", place.vo))
}

/// Posts to a place and prints what is in force then.
pub async fn order(server: &Server, place: &Place, what: &str) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let done: Applied = client.post(&route(place, what)?, &json!({})).await?;
    show::applied(server.json, &done)
}

/// Lets a candidate in.
pub async fn rollout(server: &Server, rollout: Rollout) -> anyhow::Result<()> {
    use crate::cli::StageOption;
    let client = Client::from_options(server).await?;
    let (plugin, version) = named(&client, &rollout.candidate).await?;
    let there = there(&client, &rollout.place).await?;
    let settings = settings(&rollout.candidate, there.as_ref())?;
    let candidate = Candidate {
        plugin,
        version: version.parse().with_context(|| format!("`{version}` is no version range"))?,
        settings: settings.unwrap_or_else(|| json!({})),
        grants: there.map(|binding| binding.grants).unwrap_or_default(),
        stage: match rollout.stage {
            StageOption::Shadow => Stage::Shadow,
            StageOption::Canary => Stage::Canary,
        },
        share: rollout.share,
        max_drift: rollout.max_drift,
    };
    let done: Applied = client.put(&route(&rollout.place, "/candidate")?, &candidate).await?;
    show::applied(server.json, &done)
}

/// Name and version range of a candidate, its file pushed first.
async fn named(client: &Client, candidate: &CandidateOptions) -> anyhow::Result<(String, String)> {
    if let Some(pushed) = push_if_file(client, &candidate.plugin).await? {
        return Ok(pushed);
    }
    Ok(match candidate.plugin.split_once('@') {
        Some((name, version)) => (name.to_owned(), exact_or_range(version)),
        None => (candidate.plugin.clone(), "*".to_owned()),
    })
}

/// What is bound in a place.
pub async fn there(client: &Client, place: &Place) -> anyhow::Result<Option<Binding>> {
    let document = client.bytes(&format!("/api/vos/{}", place.vo)).await?;
    let document = VoDocument::from_toml(&String::from_utf8_lossy(&document))?;
    Ok(document.binding(&place.path.parse()?).cloned())
}

fn settings(
    candidate: &CandidateOptions,
    there: Option<&Binding>,
) -> anyhow::Result<Option<serde_json::Value>> {
    match &candidate.settings {
        Some(text) => Ok(Some(serde_json::from_str(text).context("--settings is no JSON")?)),
        None => Ok(there.map(|binding| binding.settings.clone())),
    }
}

/// Asks a candidate what was decided of late.
pub async fn replay(server: &Server, replay: Replay) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let (plugin, version) = named(&client, &replay.candidate).await?;
    let request = ReplayRequest {
        plugin,
        version,
        settings: settings(&replay.candidate, None)?,
        since_seconds: seconds(&replay.since)?,
    };
    let replayed: Replayed = client.post(&route(&replay.place, "/replay")?, &request).await?;
    if server.json {
        return show::json(&replayed);
    }
    print_replay(&replayed);
    Ok(())
}

fn seconds(text: &str) -> anyhow::Result<u64> {
    let span: jiff::Span = text
        .parse()
        .ok()
        .with_context(|| format!("`{text}` is no length of time: write 90m, 24h or 7d"))?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let seconds = span.total((jiff::Unit::Second, days))?;
    if seconds <= 0.0 {
        bail!("--since {text}: a replay looks back, so give a positive length of time");
    }
    Ok(seconds as u64)
}

fn print_replay(replay: &Replayed) {
    let in_force =
        replay.in_force.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    println!("{} ({}) instead of {in_force}", replay.candidate, replay.candidate.digest.short());
    println!(
        "asked {} recorded decisions since {}, and {} questions of now{}",
        replay.decisions,
        show::time(&replay.since.to_string()),
        replay.asked_now,
        if replay.left_out > 0 { format!("; {} left out", replay.left_out) } else { String::new() }
    );
    print_differences(&replay.differences);
    if replay.placements > 0 {
        let lost: u64 = replay.placements_lost.values().sum();
        println!(
            "\nof {} attempts since then, {lost} would not have gone where they went",
            replay.placements
        );
        for (site, count) in &replay.placements_lost {
            println!("  {site}: {count}");
        }
    }
    match &replay.warning {
        Some(warning) => println!("\nWARNING: {warning}"),
        None => println!("\nnothing out of bounds"),
    }
}

/// Prints what differs.
pub fn print_differences(differences: &Differences) {
    let Differences { compared, same, lost, gained, changed, faults, .. } = differences;
    println!(
        "{compared} answers: {same} the same, {lost} lost, {gained} gained, {changed} changed, {faults} faults"
    );
    if let (Some(before), Some(now)) = (
        differences.cost_before_us.checked_div(differences.calls),
        differences.cost_now_us.checked_div(differences.calls),
    ) {
        println!("a call costs {now} us, {before} us before");
    }
    if !differences.job_types.is_empty() {
        show::table(
            ["job type", "answers", "yes before", "yes now", "waiting", ""],
            differences.job_types.iter().map(|(name, t)| {
                let verdict = if t.starved() { "STARVED" } else { "" };
                [
                    name.to_string(),
                    t.compared.to_string(),
                    t.yes_before.to_string(),
                    t.yes_now.to_string(),
                    t.waiting.to_string(),
                    verdict.to_owned(),
                ]
            }),
        );
    }
    let mut reasons: Vec<_> = differences.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(10) {
        println!("  {count} x {reason}");
    }
    for example in &differences.examples {
        println!("  e.g. {example}");
    }
}

/// Shows each place.
pub async fn status(
    server: &Server,
    vo: Option<&str>,
    path: Option<&str>,
    watch: bool,
) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    loop {
        let places: Vec<PlaceView> = client.get("/api/places").await?;
        let wanted = |place: &PlaceView| {
            vo.is_none_or(|vo| place.vo == vo) && path.is_none_or(|path| place.path == path)
        };
        let places: Vec<PlaceView> = places.into_iter().filter(wanted).collect();
        if server.json {
            show::json(&places)?;
        } else {
            print_places(&places);
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn print_places(places: &[PlaceView]) {
    let rows = places.iter().flat_map(|place| &place.versions).map(|v| {
        let plugin = format!("{} {}", v.plugin, v.version);
        let calls = format!("{}/{}", v.good, v.faults);
        let reason = v.reason.chars().take(200).collect();
        [
            v.vo.clone(),
            v.path.clone(),
            plugin,
            show::short(&v.digest),
            v.state.clone(),
            calls,
            reason,
        ]
    });
    show::table(["VO", "place", "plugin", "digest", "state", "good/faults", ""], rows);
    for place in places {
        if place.decides.is_empty() {
            println!("{} {}: nothing decides; what it would decide is held", place.vo, place.path);
        }
        if let Some(rollout) = &place.rollout {
            let share =
                if rollout.share > 0 { format!(" of {} %", rollout.share) } else { String::new() };
            println!("\n{} {}: {}{share}", place.vo, place.path, rollout.stage);
            print_differences(&rollout.differences);
        }
    }
}

/// Shows who did what.
pub async fn history(
    server: &Server,
    vo: &str,
    path: Option<String>,
    limit: u32,
) -> anyhow::Result<()> {
    let client = Client::from_options(server).await?;
    let mut query = vec![("limit", limit.to_string())];
    query.extend(path.map(|path| ("path", path)));
    let entries: Vec<HistoryView> =
        client.get_with(&format!("/api/vos/{vo}/history"), &query).await?;
    if server.json {
        return show::json(&entries);
    }
    show::table(
        ["time", "who", "place", "action", "plugin", ""],
        entries
            .into_iter()
            .rev()
            .map(|e| [show::time(&e.time), e.who, e.path, e.action, e.plugin, e.detail]),
    );
    Ok(())
}
