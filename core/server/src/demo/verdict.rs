//! Whether all is as it should be: outputs, placement, usage.

use super::{Taken, campaign::Campaign, stage::Stage};
use crate::show;
use anyhow::Context;
use spinor_api::{
    registry::{SinkView, UsageView},
    views::{AttemptView, JobView},
};
use spinor_lifecycle::explain::Explanation;
use spinor_model::{id::VoName, state::JobState};
use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

/// Shows why jobs wait that nothing can run, and ends them.
pub async fn explain_waiting(taken: &[Taken]) -> anyhow::Result<bool> {
    let mut good = true;
    for taken in taken.iter().filter(|t| t.submission.expect == JobState::Waiting) {
        for job in &taken.jobs {
            let why: Explanation = taken.client.get(&format!("/api/jobs/{job}/explain")).await?;
            println!("job {job} waits: {}", why.summary);
            for place in &why.places {
                match &place.kept_by {
                    Some(o) => println!("  {}: {} {}", place.site, o.kind, o.reason),
                    None => good = false,
                }
            }
        }
        let order = serde_json::json!({"job_ids": taken.jobs});
        let ended: spinor_api::orders::Ordered =
            taken.client.post("/api/jobs/kill", &order).await?;
        good &= ended.failed.is_empty();
    }
    Ok(good)
}

/// Fetches every output and has it checked; prints what became of each submission.
pub async fn outputs(campaign: &Campaign, taken: &[Taken]) -> anyhow::Result<bool> {
    let (mut rows, mut good) = (Vec::new(), true);
    for taken in taken {
        let directory = tempfile::tempdir()?;
        let (states, attempts) = look(taken, directory.path()).await?;
        let submission = &taken.submission;
        let expected = match submission.expect {
            JobState::Waiting => JobState::Killed,
            state => state,
        };
        let as_expected = states.len() == 1 && states.contains_key(expected.as_str());
        let tried = submission.attempts.is_none_or(|n| attempts.iter().all(|a| *a == n));
        let (checked, verdict) = match &submission.check {
            Some(check) => run_check(check, campaign, directory.path())?,
            None => (true, String::new()),
        };
        good &= as_expected && tried && checked;
        let states: Vec<_> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
        let mark = if as_expected && tried && checked { "yes" } else { "NO" };
        rows.push([
            submission.vo.to_string(),
            submission.what.clone(),
            states.join(", "),
            attempts.iter().sum::<u32>().to_string(),
            verdict,
            mark.to_owned(),
        ]);
    }
    show::table(["VO", "jobs", "ended", "attempts", "outputs", "as it should be"], rows);
    Ok(good)
}

/// States of a submission's jobs, their numbers of attempts, and their outputs in `directory`.
async fn look(
    taken: &Taken,
    directory: &Path,
) -> anyhow::Result<(BTreeMap<String, u32>, Vec<u32>)> {
    let (mut states, mut attempts) = (BTreeMap::new(), Vec::new());
    for job in &taken.jobs {
        let view: JobView = taken.client.get(&format!("/api/jobs/{job}")).await?;
        *states.entry(view.status).or_default() += 1;
        attempts.push(view.attempt);
        if taken.submission.check.is_some() {
            taken.client.fetch_output(*job, &directory.join(format!("job-{job}"))).await?;
        }
    }
    Ok((states, attempts))
}

/// Runs a check over fetched outputs; whether they are good, and its one line.
fn run_check(
    check: &[String],
    campaign: &Campaign,
    outputs: &Path,
) -> anyhow::Result<(bool, String)> {
    let (program, arguments) = check.split_first().context("`check` is empty")?;
    let inside = |argument: &String| {
        let file = campaign.directory.join(argument);
        if file.is_file() { file.canonicalize().unwrap_or(file).into() } else { argument.into() }
    };
    let arguments: Vec<std::ffi::OsString> = arguments.iter().map(inside).collect();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(outputs)
        .output()
        .with_context(|| format!("cannot run the check {program}"))?;
    let text = if output.status.success() { output.stdout } else { output.stderr };
    let text = String::from_utf8_lossy(&text);
    Ok((output.status.success(), text.trim().lines().last().unwrap_or_default().to_owned()))
}

/// Shows what ran where under which rule, and that the swap changed it from one decision on.
pub async fn placement(stage: &Stage, campaign: &Campaign) -> anyhow::Result<bool> {
    let (mut rows, mut good) = (Vec::new(), true);
    for (document, _) in campaign.vos()? {
        let attempts = attempts(stage, &document.vo).await?;
        let mut counts: BTreeMap<(String, String), (u32, String, String)> = BTreeMap::new();
        for attempt in &attempts {
            let key = (attempt.rule.clone(), attempt.site.clone());
            let entry =
                counts.entry(key).or_insert_with(|| (0, attempt.claimed.clone(), String::new()));
            entry.0 += 1;
            entry.2 = attempt.claimed.clone();
        }
        for ((rule, site), (count, first, last)) in counts {
            let time = |text: &str| text.get(11..23).unwrap_or(text).to_owned();
            let vo = document.vo.to_string();
            rows.push([vo, rule, site, count.to_string(), time(&first), time(&last)]);
        }
        if let Some(swap) = campaign.swap.as_ref().filter(|swap| swap.vo == document.vo) {
            good &= changed_at_once(&attempts, &swap.sites);
        }
    }
    show::table(["VO", "rule", "site", "jobs", "first decision", "last decision"], rows);
    Ok(good)
}

/// All attempts of a VO, in order of their claim.
async fn attempts(stage: &Stage, vo: &VoName) -> anyhow::Result<Vec<AttemptView>> {
    let mut all: Vec<AttemptView> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.job_id);
        let query =
            [("vo", vo.to_string()), ("after", after.to_string()), ("limit", "1000".to_owned())];
        let page: Vec<AttemptView> = stage.operator.get_with("/api/attempts", &query).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all.sort_by(|a, b| (&a.claimed, a.job_id).cmp(&(&b.claimed, b.job_id)));
    Ok(all)
}

/// Every decision of each version went where that version sends jobs, and after the first decision
/// of the new version there is none of the old.
fn changed_at_once(attempts: &[AttemptView], sites: &BTreeMap<String, String>) -> bool {
    let version =
        |attempt: &AttemptView| attempt.rule.rsplit(' ').next().unwrap_or_default().to_owned();
    let obeyed = attempts.iter().all(|a| sites.get(&version(a)) == Some(&a.site));
    let mut versions: Vec<String> = attempts.iter().map(version).collect();
    versions.dedup();
    if obeyed && versions.len() == 2 {
        return true;
    }
    println!("placement did not change at once: decisions by {}", versions.join(", then "));
    false
}

/// Shows each VO's usage, once all of it has reached the sinks.
pub async fn usage(stage: &Stage, campaign: &Campaign) -> anyhow::Result<bool> {
    let mut waiting = u64::MAX;
    for _ in 0..100 {
        let sinks: Vec<SinkView> = stage.operator.get("/api/sinks").await?;
        waiting = sinks.iter().map(|sink| sink.waiting).sum();
        if waiting == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut rows = Vec::new();
    for (document, _) in campaign.vos()? {
        let route = format!("/api/vos/{}/usage", document.vo);
        let usage: Vec<UsageView> = stage.operator.get(&route).await?;
        for u in usage {
            rows.push([
                document.vo.to_string(),
                u.group,
                u.site,
                u.status,
                u.attempts.to_string(),
                format!("{:.1}", u.core_seconds),
                format!("{:.1}", u.cpu_seconds),
            ]);
        }
    }
    show::table(["VO", "group", "site", "outcome", "attempts", "core s", "CPU s"], rows);
    if waiting > 0 {
        println!("{waiting} usage records have not reached their sink");
    }
    Ok(waiting == 0)
}
