//! Watching the campaign run, and swapping the policy in its middle.

use super::{
    Taken,
    campaign::{Campaign, Swap},
    stage::Stage,
};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use spinor_api::{administration::Applied, jobs::StatusCountView};
use spinor_model::{
    id::VoName,
    registry::{Binding, VoDocument},
    state::JobState,
};
use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

const LOOK: Duration = Duration::from_millis(200);
/// Between lines where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

type Counts = BTreeMap<JobState, u64>;

/// Watches until nothing moves any more; whether that came in time.
pub async fn watch(
    stage: &Stage,
    campaign: &Campaign,
    taken: &[Taken],
    timeout: Duration,
) -> anyhow::Result<bool> {
    let total: u64 = taken.iter().map(|t| t.jobs.len() as u64).sum();
    let stuck: u64 = taken
        .iter()
        .filter(|t| t.submission.expect == JobState::Waiting)
        .map(|t| t.jobs.len() as u64)
        .sum();
    let (progress, started) = (Progress::new(total), Instant::now());
    let mut swap = campaign.swap.as_ref();
    loop {
        let mut all = Counts::new();
        for (document, _) in campaign.vos()? {
            let counts = counts(stage, &document.vo).await?;
            if let Some(due) = swap.filter(|s| s.vo == document.vo)
                && counts.get(&JobState::Done).copied().unwrap_or(0) >= due.after_done
            {
                progress.say(&swap_now(stage, due).await?);
                swap = None;
            }
            for (state, count) in counts {
                *all.entry(state).or_default() += count;
            }
        }
        progress.show(&all);
        let ended: u64 = all.iter().filter(|(s, _)| s.is_final()).map(|(_, count)| count).sum();
        if ended + stuck >= total {
            progress.finish();
            return Ok(true);
        }
        if started.elapsed() > timeout {
            progress.finish();
            println!(
                "after {} s, {} of {total} jobs have not ended",
                timeout.as_secs(),
                total - ended
            );
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn counts(stage: &Stage, vo: &VoName) -> anyhow::Result<Counts> {
    let query = [("vo", vo.to_string())];
    let counts: Vec<StatusCountView> = stage.operator.get_with("/api/jobs/summary", &query).await?;
    counts.into_iter().map(|c| Ok((c.status.parse()?, c.count))).collect()
}

/// Swaps the plugin to another version; its settings and grants stay.
async fn swap_now(stage: &Stage, swap: &Swap) -> anyhow::Result<String> {
    let text = stage.operator.bytes(&format!("/api/vos/{}", swap.vo)).await?;
    let document = VoDocument::from_toml(&String::from_utf8_lossy(&text))?;
    let present = document.bindings().find(|(path, _)| *path == swap.path);
    let present = present.with_context(|| format!("nothing is bound to {}", swap.path))?.1.clone();
    let binding = Binding { version: swap.to.clone(), ..present };
    let started = Instant::now();
    let route = format!("/api/vos/{}/bindings/{}", swap.vo, swap.path);
    let applied: Applied = stage.operator.put(&route, &binding).await?;
    let now = applied.bindings.iter().find(|b| b.path == swap.path.to_string());
    let now = now.map(|b| format!("{} {}", b.plugin, b.version)).unwrap_or_default();
    Ok(format!(
        "swapped {} of VO {} to {now} in {} ms, after {} jobs were done",
        swap.path,
        swap.vo,
        started.elapsed().as_millis(),
        swap.after_done,
    ))
}

/// A bar in a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    last_line: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    fn new(total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal.then(|| ProgressBar::new(total).with_style(style));
        Self { bar, last_line: std::cell::Cell::new(None) }
    }

    fn show(&self, counts: &Counts) {
        let text: Vec<_> = counts.iter().map(|(state, count)| format!("{state} {count}")).collect();
        let ended =
            counts.iter().filter(|(state, _)| state.is_final()).map(|(_, count)| count).sum();
        match &self.bar {
            Some(bar) => {
                bar.set_position(ended);
                bar.set_message(text.join(", "));
            }
            None if self.last_line.get().is_none_or(|last| last.elapsed() > LINE) => {
                println!("{}", text.join(", "));
                self.last_line.set(Some(Instant::now()));
            }
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => println!("{text}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
