//! One job: its directory, its processes under its limits, its result.

use crate::{
    client::{Client, ClientError},
    isolation::{self, Isolation},
    process::{self, Usage},
    sandbox,
    tokens::{self, Communal, Due, JOB, Renewal},
};
use nix::{fcntl::OFlag, sys::signal::Signal, unistd::Pid};
use spinor_model::{
    id::Digest,
    plan::{AttemptResult, Consumption, Ending, Plan},
    protocol::Assignment,
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
/// Of a stream, kept for people.
const TAIL: u64 = 4096;

/// Runs a job and brings its result to the server.
pub async fn run(
    client: Client,
    job: Assignment,
    directory: PathBuf,
    isolation: Option<Isolation>,
    wish: watch::Receiver<Wish>,
) -> Result<(), ClientError> {
    let started = Instant::now();
    let (ending, usage) = match prepare(&client, &job, &directory, isolation.as_ref()).await {
        Ok(Ok((child, due))) => {
            let _renewal = Renewal::begin(&client, job.job, &directory, due);
            let group = Group { leader: leader(&child), isolated: isolation.is_some() };
            watch_over(child, group, &job, wish, started).await
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
    isolation: Option<&Isolation>,
) -> Result<Result<(Child, Due), Ending>, ClientError> {
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
    let due = match tokens::fetch_all(client, job, directory).await {
        Ok(due) => due,
        // Not the job's fault: it may have more luck later.
        Err(error) => return Ok(Err(Ending::Lost { reason: format!("no credentials: {error}") })),
    };
    let program = job.plan.command.first().map_or("", String::as_str);
    match start(job, directory, isolation) {
        Ok(child) => Ok(Ok((child, due))),
        Err(error) => not_started(format!("{program}: {error}")),
    }
}

fn start(job: &Assignment, directory: &Path, isolation: Option<&Isolation>) -> io::Result<Child> {
    let Plan { command, environment, stdout, stderr, .. } = &job.plan;
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::other("the plan has no command"))?;
    let token = directory.join(JOB);
    tokens::write(&token, &job.token)?;
    let program = found(directory, program)?;
    let mut command = match isolation {
        None => Command::new(program),
        Some(isolation) => {
            let mut command = Command::new(isolation::PROGRAM);
            command.args(isolation.arguments(directory)).arg(program);
            command
        }
    };
    command
        .args(arguments)
        .current_dir(directory)
        .env("HOME", directory)
        .env("TMPDIR", directory)
        .env("OMP_NUM_THREADS", job.cores.to_string())
        .env("SPINOR_CORES", job.cores.to_string())
        .env("SPINOR_JOB_ID", job.job.to_string())
        .env("SPINOR_ATTEMPT", job.attempt.to_string())
        .env("SPINOR_JOB_TOKEN_FILE", token)
        .envs(Communal::of(job).map(|what| (what.variable(), directory.join(what.file()))))
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(File::create(directory.join(stdout))?)
        .stderr(File::create(directory.join(stderr))?)
        .process_group(0)
        .spawn()
}

/// A program that came with the job, made executable again if that was lost on the way; else the
/// machine's, as it is.
fn found(directory: &Path, program: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let own = directory.join(program);
    if Path::new(program).is_absolute() || !own.is_file() {
        return Ok(PathBuf::from(program));
    }
    let mut permissions = fs::metadata(&own)?.permissions();
    permissions.set_mode(permissions.mode() | 0o500);
    fs::set_permissions(&own, permissions)?;
    Ok(own)
}

/// Waits for a payload's end, and sees to its limits.
async fn watch_over(
    child: Child,
    group: Group,
    job: &Assignment,
    mut wish: watch::Receiver<Wish>,
    started: Instant,
) -> (Ending, Usage) {
    let guard = process::Guard::new(group.leader);
    let mut waiting = tokio::task::spawn_blocking(move || process::wait(child));
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
        Ok(Ok(ended)) => {
            most.cpu_seconds = most.cpu_seconds.max(ended.cpu_seconds);
            match ended.status {
                Ok(code) => Ending::Exited { code },
                Err(signal) => Ending::Signalled { signal },
            }
        }
        Ok(Err(error)) => Ending::Lost { reason: error.to_string() },
        Err(error) => Ending::Lost { reason: error.to_string() },
    };
    (cut_off.unwrap_or(ending), most)
}

/// A payload's processes.
#[derive(Clone, Copy)]
struct Group {
    leader: Pid,
    isolated: bool,
}

fn leader(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
}

impl Group {
    /// Ends it: politely, then for good.
    fn end(self, why: Ending) -> Ending {
        match self.isolated {
            true => process::ask_behind(self.leader, isolation::PROGRAM),
            false => process::signal(self.leader, Signal::SIGTERM),
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
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn only_what_came_with_the_job_is_made_executable() {
        let (job, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        for file in [job.path().join("run.sh"), machine.path().join("tool")] {
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let own = found(job.path(), "run.sh").unwrap();
        assert_eq!((mode(&own), own), (0o740, job.path().join("run.sh")));
        let tool = machine.path().join("tool");
        assert_eq!(found(job.path(), tool.to_str().unwrap()).unwrap(), tool);
        assert_eq!(mode(&tool), 0o640);
        assert_eq!(found(job.path(), "python3").unwrap(), Path::new("python3"));
    }
}
