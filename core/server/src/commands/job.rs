//! `spinor job`.

use crate::{
    cli::{Job, List, Server},
    client::Client,
    description, show,
};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use spinor_api::{
    dirac::InsertedJob,
    jobs::{Logs, StatusCountView, SubmittedJobs},
    orders::Ordered,
    views::{AttemptView, EventView, JobView},
};
use spinor_lifecycle::explain::Explanation;
use spinor_model::state::JobState;
use std::{
    io::IsTerminal,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Does what the command line says.
pub async fn run(server: &Server, command: Job) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(server).await?;
    match command {
        Job::Submit { description, wait } => {
            return submit(&client, server, &description, wait).await;
        }
        Job::Wait { jobs, timeout } => return wait(&client, server, &jobs, timeout).await,
        Job::List(which) => list(&client, server, &which).await?,
        Job::Show { job } => show_job(&client, server, job).await?,
        Job::Logs { job, stderr } => logs(&client, server, job, stderr).await?,
        Job::Output { jobs, to } => output(&client, server, &jobs, &to).await?,
        Job::Kill { jobs, vo } => return order(&client, server, "kill", &jobs, vo).await,
        Job::Reschedule { jobs, vo } => {
            return order(&client, server, "reschedule", &jobs, vo).await;
        }
        Job::Explain { job } => explain(&client, server, job).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn submit(
    client: &Client,
    server: &Server,
    file: &Path,
    wait_too: bool,
) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let base = file.parent().unwrap_or(Path::new("."));
    let place = || format!("in {}", file.display());
    let submitted = match file.extension().is_some_and(|end| end.eq_ignore_ascii_case("jdl")) {
        true => {
            let jdl = description::prepare_jdl(client, &text, base).await.with_context(place)?;
            let inserted: Vec<InsertedJob> = client.post("/api/jobs/jdl", &[jdl]).await?;
            SubmittedJobs { job_ids: inserted.into_iter().map(|job| job.job_id).collect() }
        }
        false => {
            let description =
                description::prepare(client, &text, base).await.with_context(place)?;
            client.post("/api/jobs", &description).await?
        }
    };
    match (server.json, &submitted.job_ids[..]) {
        // What is printed is the jobs as they ended; their numbers are not lost before.
        (true, _) if wait_too => eprintln!("jobs {:?}", submitted.job_ids),
        (true, _) => show::json(&submitted)?,
        (false, [job]) => println!("job {job}"),
        (false, [first, .., last]) => {
            println!("{} jobs, {first} to {last}", submitted.job_ids.len());
        }
        (false, []) => println!("no jobs"),
    }
    if wait_too {
        return wait(client, server, &submitted.job_ids, None).await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, server: &Server, which: &List) -> anyhow::Result<()> {
    let mut query = vec![("limit", which.limit.to_string())];
    if which.after.is_none() && !which.summary {
        query.push(("newest", true.to_string()));
    }
    let optional = [
        ("vo", which.vo.clone()),
        ("owner", which.owner.clone()),
        ("status", which.status.clone()),
        ("site", which.site.clone()),
        ("after", which.after.map(|after| after.to_string())),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if which.summary {
        let counts: Vec<StatusCountView> = client.get_with("/api/jobs/summary", &query).await?;
        if server.json {
            return show::json(&counts);
        }
        show::table(
            ["status", "jobs"],
            counts.into_iter().map(|c| [c.status, c.count.to_string()]),
        );
        return Ok(());
    }
    let jobs: Vec<JobView> = client.get_with("/api/jobs", &query).await?;
    if server.json {
        return show::json(&jobs);
    }
    show::table(
        ["job", "status", "", "name", "owner", "site", "attempt", "updated"],
        jobs.into_iter().map(|j| {
            let (id, attempt) = (j.job_id.to_string(), j.attempt.to_string());
            [id, j.status, j.minor_status, j.name, j.owner, j.site, attempt, show::time(&j.updated)]
        }),
    );
    Ok(())
}

async fn show_job(client: &Client, server: &Server, id: i64) -> anyhow::Result<()> {
    let job: JobView = client.get(&format!("/api/jobs/{id}")).await?;
    let attempts: Vec<AttemptView> = client.get(&format!("/api/jobs/{id}/attempts")).await?;
    let events: Vec<EventView> = client.get(&format!("/api/jobs/{id}/events")).await?;
    if server.json {
        return show::json(&json!({"job": job, "attempts": attempts, "events": events}));
    }
    println!("job {id}: {} ({})", job.status, job.minor_status);
    println!("  {} of {} ({}, {}), type {}", job.name, job.owner, job.group, job.vo, job.job_type);
    if !job.person.is_empty() {
        println!("  for {}", job.person);
    }
    if !job.application_status.is_empty() {
        println!("  it says: {}", job.application_status);
    }
    if !attempts.is_empty() {
        show::table(
            ["attempt", "", "site", "cores", "by rule", "ended with", "CPU s", "MiB"],
            attempts.into_iter().map(|a| {
                let number = |value: Option<String>| value.unwrap_or_default();
                [
                    a.attempt.to_string(),
                    a.state,
                    a.site,
                    a.cores.to_string(),
                    a.rule,
                    number(a.ending),
                    number(a.cpu_seconds.map(|s| format!("{s:.2}"))),
                    number(a.max_memory_mb.map(|m| m.to_string())),
                ]
            }),
        );
    }
    show::table(
        ["time", "attempt", "status", "", "by"],
        events.into_iter().map(|e| {
            [show::time(&e.time), e.attempt.to_string(), e.status, e.minor_status, e.source]
        }),
    );
    Ok(())
}

async fn logs(client: &Client, server: &Server, id: i64, stderr: bool) -> anyhow::Result<()> {
    let logs: Logs = client.get(&format!("/api/jobs/{id}/logs")).await?;
    if server.json {
        return show::json(&logs);
    }
    print!("{}", if stderr { logs.stderr_tail } else { logs.stdout_tail });
    Ok(())
}

async fn output(client: &Client, server: &Server, jobs: &[i64], to: &Path) -> anyhow::Result<()> {
    let (mut fetched, mut failed) = (Vec::new(), Ok(()));
    for job in jobs {
        let directory = to.join(format!("job-{job}"));
        failed = client.fetch_output(*job, &directory).await.with_context(|| format!("job {job}"));
        if failed.is_err() {
            break;
        }
        if !server.json {
            println!("{}", directory.display());
        }
        fetched.push(json!({"job_id": job, "directory": directory}));
    }
    if server.json {
        show::json(&fetched)?;
    }
    failed
}

async fn order(
    client: &Client,
    server: &Server,
    what: &str,
    jobs: &[i64],
    vo: Option<String>,
) -> anyhow::Result<ExitCode> {
    let body = json!({"job_ids": jobs, "vo": vo});
    let ordered: Ordered = client.post(&format!("/api/jobs/{what}"), &body).await?;
    if server.json {
        show::json(&ordered)?;
    } else {
        for (job, obeyed) in &ordered.success {
            println!("job {job}: {}", obeyed.status);
        }
        for (job, why) in &ordered.failed {
            eprintln!("job {job}: {}", why.detail);
        }
    }
    Ok(ExitCode::from(u8::from(!ordered.failed.is_empty())))
}

async fn explain(client: &Client, server: &Server, id: i64) -> anyhow::Result<()> {
    let explanation: Explanation = client.get(&format!("/api/jobs/{id}/explain")).await?;
    if server.json {
        return show::json(&explanation);
    }
    println!("job {id}: {}", explanation.summary);
    println!("{} job(s) of its class wait", explanation.class_waiting);
    show::table(
        ["site", "CE", "queue", "pilots", "kept from it by", "why"],
        explanation.places.into_iter().map(|p| {
            let (by, why) = match p.kept_by {
                Some(o) => (format!("{} {}", o.kind, o.name), o.reason),
                None => ("nothing".to_owned(), format!("scored {}", p.score.unwrap_or(0))),
            };
            let (site, ce, queue) = (p.site.to_string(), p.ce.to_string(), p.queue.to_string());
            [site, ce, queue, p.pilots.to_string(), by, why]
        }),
    );
    Ok(())
}

/// Between looks at jobs that one waits for.
const LOOK: Duration = Duration::from_millis(500);

async fn wait(
    client: &Client,
    server: &Server,
    jobs: &[i64],
    timeout: Option<u64>,
) -> anyhow::Result<ExitCode> {
    let bar = progress(jobs.len() as u64);
    let started = Instant::now();
    let mut open: Vec<i64> = jobs.to_vec();
    let mut ended: Vec<JobView> = Vec::new();
    loop {
        let mut still = Vec::new();
        for job in open {
            let view: JobView = client.get(&format!("/api/jobs/{job}")).await?;
            match view.status.parse::<JobState>() {
                Ok(state) if state.is_final() => ended.push(view),
                _ => still.push(job),
            }
        }
        bar.set_position(ended.len() as u64);
        open = still;
        let late = timeout.is_some_and(|t| started.elapsed() > Duration::from_secs(t));
        if open.is_empty() || late {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    bar.finish_and_clear();
    let good = ended.iter().filter(|job| job.status == "Done").count();
    if server.json {
        show::json(&ended)?;
    } else {
        println!("{good} of {} jobs are Done", jobs.len());
        for job in ended.iter().filter(|job| job.status != "Done").take(20) {
            println!("job {}: {} ({})", job.job_id, job.status, job.minor_status);
        }
        if !open.is_empty() {
            println!("{} have not ended yet", open.len());
        }
    }
    Ok(ExitCode::from(u8::from(good != jobs.len())))
}

/// A bar in a terminal; nothing elsewhere.
fn progress(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} jobs have ended, {elapsed}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
