//! A pilot's life: ask, run, tell, until there is nothing left to do.

use crate::{
    client::{Client, ClientError},
    configuration::Configuration,
    means::Means,
    payload::{self, Wish, tail},
    share::{Share, Shares},
    slot::Slot,
    tokens,
};
use futures::FutureExt;
use spinor_model::{
    id::{AttemptNumber, JobId, UserName},
    protocol::{Assignment, Beat, Heartbeat, HeartbeatAnswer, JobOrder, Match, Started},
};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::sleep_until,
};

/// Of a running payload's output, told with each heartbeat.
const BEAT_TAIL: u64 = 2048;
/// A payload that ends sooner is never told of as running: its result says it all.
const FIRST_BEAT: Duration = Duration::from_secs(1);
/// With less left of its life a pilot takes no more work.
const TOO_LATE: Duration = Duration::from_secs(60);

type Key = (JobId, AttemptNumber);

/// A payload under way.
struct Running {
    owner: UserName,
    cores: u32,
    memory_mb: u64,
    gpus: u32,
    scratch_mb: u64,
    share: Share,
    directory: PathBuf,
    stdout: String,
    wish: watch::Sender<Wish>,
}

/// All that a pilot knows.
struct Pilot {
    configuration: Configuration,
    client: Client,
    started: Started,
    slot: Slot,
    shares: Shares,
    means: Arc<Means>,
    running: BTreeMap<Key, Running>,
    payloads: JoinSet<(Key, Result<(), ClientError>)>,
    requests: JoinSet<Answer>,
    asking: bool,
    telling: bool,
    draining: bool,
    leaving: bool,
    next_beat: Instant,
    next_question: Instant,
    idle_since: Instant,
}

/// Works until the pilot's life is over.
pub async fn work(configuration: Configuration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let began = Instant::now();
    let mut configuration = configuration;
    // Its control group is looked at before it is divided.
    let slot = Slot::find(&configuration, began);
    let shares = Shares::find(slot.cores, configuration.gpus);
    let means = Means::find(&configuration, &shares)?;
    configuration.tags = means.tags(&configuration.tags);
    // Those that the worker shows; others would be nobody's to use.
    configuration.gpus = configuration.gpus.min(shares.gpus());
    let (client, started) = tokio::select! {
        started = Client::start(&configuration) => started?,
        _ = terminate.recv() => return Ok(()),
    };
    configuration.forget_secret()?;
    tracing::info!(stamp = %configuration.stamp, ?slot, tags = ?configuration.tags, "started");
    let now = Instant::now();
    let mut pilot = Pilot {
        configuration,
        client,
        started,
        slot,
        shares,
        means: Arc::new(means),
        running: BTreeMap::new(),
        payloads: JoinSet::new(),
        requests: JoinSet::new(),
        asking: false,
        telling: false,
        draining: false,
        leaving: false,
        next_beat: now,
        next_question: now,
        idle_since: now,
    };
    let result = pilot.live(&mut terminate).await;
    pilot.payloads.shutdown().await;
    result
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.05, 86_400.0))
}

impl Pilot {
    async fn live(&mut self, terminate: &mut Signal) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if self.slot.left() < TOO_LATE {
                self.draining = true;
            }
            if self.is_over(now) {
                // A courtesy: a server that is gone learns of it from the CE.
                let goodbye = tokio::time::timeout(self.client.goodbye(), self.client.end()).await;
                tracing::debug!(?goodbye, "said goodbye");
                tracing::info!("nothing left to do");
                return Ok(());
            }
            self.ask_and_tell(now);
            let wake = self.next_wake();
            tokio::select! {
                _ = terminate.recv() => self.leave(),
                Some(ended) = self.payloads.join_next(), if !self.payloads.is_empty() => {
                    self.ended(ended?)?;
                }
                Some(answer) = self.requests.join_next(), if !self.requests.is_empty() => {
                    match answer? {
                        Answer::Jobs(jobs) => {
                            self.asking = false;
                            if let Some(jobs) = self.or_drain(jobs)? {
                                self.take(jobs);
                            }
                        }
                        Answer::Orders(orders) => {
                            self.telling = false;
                            if let Some(orders) = self.or_drain(orders)? {
                                self.obey(orders);
                            }
                        }
                    }
                }
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Sends what is due. A request is never given up half way: its answer may hold jobs.
    fn ask_and_tell(&mut self, now: Instant) {
        if !self.asking && !self.draining && self.free_cores() > 0 && now >= self.next_question {
            self.asking = true;
            self.requests.spawn(ask(self.client.clone(), self.free()));
        }
        if !self.telling && !self.running.is_empty() && now >= self.next_beat {
            self.telling = true;
            self.requests.spawn(tell(self.client.clone(), self.beats()));
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let idle = now.duration_since(self.idle_since) > seconds(self.started.idle_seconds);
        let settled = self.leaving || !self.asking;
        self.running.is_empty() && settled && (self.draining || idle)
    }

    fn next_wake(&self) -> Instant {
        let mut wake = Instant::now() + Duration::from_secs(1);
        if !self.telling && !self.running.is_empty() {
            wake = wake.min(self.next_beat);
        }
        if !self.asking && !self.draining && self.free_cores() > 0 {
            wake = wake.min(self.next_question);
        }
        wake
    }

    fn free_cores(&self) -> u32 {
        let used = self.running.values().map(|running| running.cores).sum();
        self.slot.cores.saturating_sub(used)
    }

    fn free(&self) -> Match {
        let used = |what: fn(&Running) -> u64| self.running.values().map(what).sum::<u64>();
        let gpus = self.running.values().map(|running| running.gpus).sum();
        Match {
            cores: self.free_cores(),
            memory_mb: self.slot.memory_mb.saturating_sub(used(|running| running.memory_mb)),
            gpus: self.configuration.gpus.saturating_sub(gpus),
            scratch_mb: self.configuration.scratch_mb.saturating_sub(used(|r| r.scratch_mb)),
            wall_time: self.slot.offered().as_secs(),
            architecture: self.slot.architecture.clone(),
            tags: self.configuration.tags.clone(),
            attributes: self.slot.attributes.clone(),
            owner: self.running.values().next().map(|running| running.owner.clone()),
            mixes: self.means.isolation.is_some(),
            holds: self.running.keys().copied().collect(),
        }
    }

    /// A server that refuses is no reason to leave payloads alone: they are ended in order.
    fn or_drain<T>(&mut self, answer: Result<T, ClientError>) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::CutOff(error)) => Err(error.into()),
            Err(ClientError::Refused(why)) => {
                tracing::warn!(why, "refused: no more work is taken");
                self.draining = true;
                self.next_beat = Instant::now() + seconds(self.started.heartbeat_seconds);
                Ok(None)
            }
        }
    }

    fn take(&mut self, jobs: Vec<Assignment>) {
        let now = Instant::now();
        if jobs.is_empty() {
            self.next_question = now + seconds(self.started.poll_seconds);
            return;
        }
        if self.running.is_empty() {
            self.next_beat = now + FIRST_BEAT;
        }
        for job in jobs {
            let key = (job.job, job.attempt);
            let directory = self.configuration.home.join(format!("{}.{}", job.job, job.attempt));
            let (wish, wished) = watch::channel(Wish::Run);
            if self.leaving {
                wish.send_replace(Wish::Leave);
            }
            tracing::info!(job = %job.job, attempt = %job.attempt, cores = job.cores, "taken");
            let share = self.shares.take(job.cores, job.gpus);
            self.running.insert(
                key,
                Running {
                    owner: job.owner.clone(),
                    cores: job.cores,
                    memory_mb: job.memory_mb,
                    gpus: job.gpus,
                    scratch_mb: job.scratch_mb,
                    share: share.clone(),
                    stdout: job.plan.stdout.clone(),
                    directory: directory.clone(),
                    wish,
                },
            );
            let (client, means, ends) = (self.client.clone(), self.means.clone(), self.slot.ends);
            self.payloads.spawn(async move {
                let run = payload::run(client, job, directory, means, share, ends, wished);
                // What breaks one payload's handling leaves the others alone.
                let ended = AssertUnwindSafe(run).catch_unwind().await;
                let broken = |_| Err(ClientError::Refused("its handling broke".to_owned()));
                (key, ended.unwrap_or_else(broken))
            });
        }
    }

    fn ended(&mut self, ended: (Key, Result<(), ClientError>)) -> anyhow::Result<()> {
        let (key, result) = ended;
        if let Some(running) = self.running.remove(&key) {
            self.shares.give_back(running.share);
        }
        let now = Instant::now();
        self.next_question = now;
        self.idle_since = now;
        match result {
            Err(ClientError::CutOff(error)) => Err(error.into()),
            Err(ClientError::Refused(why)) => {
                tracing::warn!(job = %key.0, why, "given up");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn beats(&self) -> Heartbeat {
        let beat = |(key, running): (&Key, &Running)| Beat {
            job: key.0,
            attempt: key.1,
            stdout_tail: tail(&running.directory, &running.stdout, BEAT_TAIL),
        };
        Heartbeat { jobs: self.running.iter().map(beat).collect() }
    }

    fn obey(&mut self, told: Orders) {
        let Orders { keys, orders, drain } = told;
        self.draining |= drain;
        self.next_beat = Instant::now() + seconds(self.started.heartbeat_seconds);
        for (key, order) in keys.iter().zip(orders) {
            let Some(running) = self.running.get(key) else { continue };
            match order {
                JobOrder::Continue { token } => {
                    if let Err(error) = tokens::write(&running.directory.join(tokens::JOB), &token)
                    {
                        tracing::debug!(%error, "the payload has ended meanwhile");
                    }
                }
                JobOrder::Kill => {
                    tracing::info!(job = %key.0, attempt = %key.1, "told to end it");
                    running.wish.send_replace(Wish::Kill);
                }
            }
        }
    }

    /// Told to end: no more work, and what runs is ended and reported.
    fn leave(&mut self) {
        tracing::info!("told to end");
        self.draining = true;
        self.leaving = true;
        for running in self.running.values() {
            running.wish.send_replace(Wish::Leave);
        }
    }
}

/// What the server answered to a request.
enum Answer {
    Jobs(Result<Vec<Assignment>, ClientError>),
    Orders(Result<Orders, ClientError>),
}

/// What to do with the payloads that were told of.
struct Orders {
    keys: Vec<Key>,
    orders: Vec<JobOrder>,
    drain: bool,
}

async fn ask(client: Client, free: Match) -> Answer {
    Answer::Jobs(client.ask(&free).await.map(|matched| matched.jobs))
}

async fn tell(client: Client, heartbeat: Heartbeat) -> Answer {
    let answer = client.beat(&heartbeat).await;
    let keys = heartbeat.jobs.iter().map(|beat| (beat.job, beat.attempt)).collect();
    let orders = |a: HeartbeatAnswer| Orders { keys, orders: a.jobs, drain: a.drain };
    Answer::Orders(answer.map(orders))
}
