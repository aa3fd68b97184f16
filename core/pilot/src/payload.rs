//! One job: its directory, its processes under its limits, its result.

use crate::{
    cgroup::Group as Bounds,
    client::{Client, ClientError},
    means::Means,
    process::{self, Ended, Usage},
    sandbox,
    share::Share,
    start::{self, Around, Begun, NotBegun},
    tokens::{self, Communal, Due, JOB, Renewal},
};
use nix::{fcntl::OFlag, sys::signal::Signal, unistd::Pid};
use spinor_model::{
    id::Digest,
    plan::{AttemptResult, Consumption, Ending},
    protocol::Assignment,
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// What a pilot wants of a running payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Run,
    /// The server wants it ended.
    Kill,
    /// The pilot itself must end.
    Leave,
}

/// Between looks at a payload's memory: soon at first, so that short ones are seen too.
const FIRST_LOOK: Duration = Duration::from_millis(15);
const LOOK: Duration = Duration::from_millis(250);
/// Between a polite signal and the last one.
const GRACE: Duration = Duration::from_secs(5);
/// Inputs that are not here within this time are not waited for.
const PREPARATION: Duration = Duration::from_secs(3600);
/// Of a stream, kept for people.
const TAIL: u64 = 4096;

/// Runs a job, until its slot ends at the latest, and brings its result to the server.
pub async fn run(
    client: Client,
    mut job: Assignment,
    directory: PathBuf,
    means: Arc<Means>,
    share: Share,
    ends: Instant,
    mut wish: watch::Receiver<Wish>,
) -> Result<(), ClientError> {
    let mut started = Instant::now();
    let preparing = prepare(&client, &job, &directory, &means, &share);
    let prepared = tokio::select! {
        prepared = preparing => prepared,
        ending = not_waited_for(&mut wish) => Ok(Err(ending)),
    };
    let (ending, usage) = match prepared {
        Ok(Ok((begun, due))) => {
            // What its inputs took is not its time.
            started = Instant::now();
            let _renewal = Renewal::begin(&client, job.job, &directory, due);
            // Its slot may have a little less than it offered.
            job.wall_time = job.wall_time.min(ends.saturating_duration_since(started).as_secs());
            watch_over(begun, &job, wish, started).await
        }
        Ok(Err(ending)) => (ending, Usage::default()),
        Err(error @ ClientError::CutOff(_)) => return Err(error),
        Err(error) => (Ending::NotStarted { reason: error.to_string() }, Usage::default()),
    };
    let consumption = Consumption {
        wall_seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: usage.cpu_seconds,
        max_memory_mb: usage.memory_mb,
    };
    let result = bring_outputs(&client, &job, &directory, ending, consumption).await?;
    match client.finish(&result).await {
        Ok(taken) => tracing::info!(job = %job.job, ?taken, "result brought"),
        Err(ClientError::Refused(why)) => tracing::warn!(job = %job.job, why, "result refused"),
        Err(error) => return Err(error),
    }
    if let Err(error) = fs::remove_dir_all(&directory) {
        tracing::warn!(%error, directory = %directory.display(), "left behind");
    }
    Ok(())
}

/// Fetches inputs and starts the payload, and says when to renew its credentials; the inner error is how it
/// ended without having started.
async fn prepare(
    client: &Client,
    job: &Assignment,
    directory: &Path,
    means: &Means,
    share: &Share,
) -> Result<Result<(Begun, Due), Ending>, ClientError> {
    let not_started = |reason: String| Ok(Err(Ending::NotStarted { reason }));
    if let Err(error) = fs::create_dir_all(directory) {
        return not_started(error.to_string());
    }
    for digest in &job.sandboxes {
        let content = client.fetch(digest).await?;
        if Digest::of(&content) != *digest {
            return not_started(format!("input sandbox {digest} arrived damaged"));
        }
        if let Err(error) = sandbox::unpack(&content, directory) {
            return not_started(error.to_string());
        }
    }
    // After what the job brings, which may be of that name. From now on each heartbeat renews it.
    if let Err(error) = tokens::write(&directory.join(JOB), &job.token) {
        return not_started(error.to_string());
    }
    let ended = |error: NotBegun| match error {
        NotBegun::Never(_) => Ending::NotStarted { reason: error.to_string() },
        NotBegun::Now(reason) => Ending::Lost { reason },
    };
    let around = match Around::of(job, means).await {
        Ok(around) => around,
        Err(error) => return Ok(Err(ended(error))),
    };
    // Last, since their time runs from now on.
    let due = match tokens::fetch_all(client, job, directory).await {
        Ok(due) => due,
        // Not the job's fault: it may have more luck later.
        Err(error) => return Ok(Err(Ending::Lost { reason: format!("no credentials: {error}") })),
    };
    Ok(start::start(job, directory, means, &around, share).map(|begun| (begun, due)).map_err(ended))
}

/// The payload is not wanted any more before it has begun, or its inputs do not come.
async fn not_waited_for(wish: &mut watch::Receiver<Wish>) -> Ending {
    let unwanted = wish.wait_for(|wish| *wish != Wish::Run);
    match tokio::time::timeout(PREPARATION, unwanted).await {
        Ok(Ok(wish)) if *wish == Wish::Kill => Ending::Killed,
        Ok(_) => Ending::Lost { reason: "its pilot was told to end".to_owned() },
        Err(_) => Ending::Lost { reason: "its inputs were not here in an hour".to_owned() },
    }
}

/// Waits for a payload's end, and sees to its limits.
async fn watch_over(
    begun: Begun,
    job: &Assignment,
    mut wish: watch::Receiver<Wish>,
    started: Instant,
) -> (Ending, Usage) {
    let Begun { leader: child, group: bounds, harsh, failure } = begun;
    let group = Group { leader: leader(&child), harsh };
    let guard = process::Guard::new(group.leader);
    let mut waiting = tokio::task::spawn_blocking(move || wait(child, bounds));
    let deadline = started + Duration::from_secs(job.wall_time);
    let (mut most, mut cut_off, mut look) = (Usage::default(), None, FIRST_LOOK);
    let ended = loop {
        tokio::select! {
            ended = &mut waiting => break ended,
            () = tokio::time::sleep(look) => {
                look = (look * 2).min(LOOK);
                let now = process::usage(group.leader);
                most.memory_mb = most.memory_mb.max(now.memory_mb);
                most.cpu_seconds = most.cpu_seconds.max(now.cpu_seconds);
                if cut_off.is_none() && now.memory_mb > job.memory_limit_mb {
                    cut_off = Some(group.end(Ending::Memory { limit: job.memory_limit_mb }));
                }
            }
            () = tokio::time::sleep_until(deadline.into()), if cut_off.is_none() => {
                cut_off = Some(group.end(Ending::WallTime { limit: job.wall_time }));
            }
            Ok(()) = wish.changed(), if cut_off.is_none() => {
                let ending = match *wish.borrow() {
                    Wish::Run => continue,
                    Wish::Kill => Ending::Killed,
                    Wish::Leave => Ending::Lost { reason: "its pilot was told to end".to_owned() },
                };
                cut_off = Some(group.end(ending));
            }
        }
    };
    guard.disarm();
    let ending = match ended {
        Ok(Ok((ended, ran_out))) => {
            most.cpu_seconds = most.cpu_seconds.max(ended.cpu_seconds);
            match ended.status {
                _ if ran_out => Ending::Memory { limit: job.memory_limit_mb },
                Ok(code) => Ending::Exited { code },
                Err(signal) => Ending::Signalled { signal },
            }
        }
        Ok(Err(error)) => Ending::Lost { reason: error.to_string() },
        Err(error) => Ending::Lost { reason: error.to_string() },
    };
    let failed = fs::read(&failure).ok().inspect(|_| drop(fs::remove_file(&failure)));
    let failed = failed.and_then(|text| serde_json::from_slice(&text).ok());
    (cut_off.or(failed).unwrap_or(ending), most)
}

/// Waits for a payload's end, and whether the kernel ended it for its memory. Blocks.
fn wait(leader: Child, bounds: Option<Bounds>) -> io::Result<(Ended, bool)> {
    let ended = process::wait(leader)?;
    let ran_out = bounds.as_ref().is_some_and(Bounds::ran_out);
    bounds.into_iter().for_each(Bounds::end);
    Ok((ended, ran_out))
}

/// A payload's processes.
#[derive(Clone, Copy)]
struct Group {
    leader: Pid,
    harsh: Option<&'static str>,
}

fn leader(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
}

impl Group {
    /// Ends it: politely, then for good.
    fn end(self, why: Ending) -> Ending {
        match self.harsh {
            Some(program) => process::ask_behind(self.leader, program),
            None => process::signal(self.leader, Signal::SIGTERM),
        }
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            process::signal(self.leader, Signal::SIGKILL);
        });
        why
    }
}

async fn bring_outputs(
    client: &Client,
    job: &Assignment,
    directory: &Path,
    ending: Ending,
    consumption: Consumption,
) -> Result<AttemptResult, ClientError> {
    let plan = &job.plan;
    let (mut files, mut missing_outputs) = sandbox::select(directory, &plan.outputs);
    files.extend(sandbox::select(directory, &[plan.stdout.clone(), plan.stderr.clone()]).0);
    let secrets = [JOB].into_iter().chain(Communal::ALL.map(Communal::file));
    let secrets: Vec<&str> = secrets.collect();
    let secret = |file: &PathBuf| secrets.iter().any(|own| file.to_string_lossy().starts_with(own));
    files.retain(|file| !secret(file));
    let mut output = None;
    if !files.is_empty() {
        let base = directory.to_owned();
        let packed = tokio::task::spawn_blocking(move || sandbox::pack(&base, &files)).await;
        match packed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(content) => {
                let digest = Digest::of(&content);
                match client.upload(&digest, content).await {
                    Ok(()) => output = Some(digest),
                    Err(ClientError::Refused(why)) => missing_outputs.push(format!("all ({why})")),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => missing_outputs.push(format!("all ({error})")),
        }
    }
    Ok(AttemptResult {
        job: job.job,
        attempt: job.attempt,
        nonce: job.nonce.clone(),
        ending,
        consumption,
        output,
        missing_outputs,
        stdout_tail: tail(directory, &plan.stdout, TAIL),
        stderr_tail: tail(directory, &plan.stderr, TAIL),
    })
}

/// The last `most` bytes of a file of a payload's, as text. What leads elsewhere, or is no file, has none:
/// the payload may have put it there.
pub fn tail(directory: &Path, name: &str, most: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let real = directory.join(name).canonicalize()?;
        let own = real.starts_with(directory.canonicalize()?);
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let mut file = File::options().read(true).custom_flags(flags).open(real)?;
        if !own || !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut content = Vec::new();
        file.take(most).read_to_end(&mut content)?;
        Ok(content)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_output_is_the_payloads_own() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(own.path().join("out"), "of its own").unwrap();
        fs::write(other.path().join("secret"), "secret").unwrap();
        assert_eq!(tail(own.path(), "out", 3), "own");
        std::os::unix::fs::symlink(other.path().join("secret"), own.path().join("link")).unwrap();
        nix::unistd::mkfifo(&own.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "pipe", "none", "."] {
            assert_eq!(tail(own.path(), name, 9), "", "{name}");
        }
    }
}
