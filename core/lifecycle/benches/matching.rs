//! A match from the index, and with its durable claim, at 1 and at 100,000 waiting jobs.
//!
//! `cargo bench -p spinor-lifecycle --bench matching` prints medians, and ratios at the end: what a match
//! costs must not grow with the jobs that wait.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, BenchmarkId, Criterion};
use spinor_identity::subject::PilotIdentity;
use spinor_lifecycle::{
    Lifecycle, Parts,
    admission::Request,
    index::{Index, Slot},
    matching::Owners,
};
use spinor_model::{
    id::ClassId,
    offer::Offer,
    policy::{MatchingRule, RequirementClass, Verdict},
    registry::VoDocument,
    requirement::Requirement,
    time::SystemClock,
};
use spinor_store::{
    QueueKey,
    sql::{Database, SqlStore},
};
use spinor_twins::{TwinRule, Twins};
use std::{
    collections::HashSet,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// LHCb's production queue of 2026-03-28 had so many task queues.
const CLASSES: i64 = 501;
const WAITING: [u64; 2] = [1, 100_000];

fn offer() -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": "A", "ce": "a", "queue": "q", "cores": 1, "memory_mb": 4096, "wall_time": 7200,
        "architecture": "x86_64",
    }))
    .unwrap()
}

/// `waiting` jobs spread over 501 classes, all judged.
fn index(waiting: u64) -> Index {
    let class = |i: i64| {
        let mut requirement = Requirement { wall_time: 60, ..Requirement::default() };
        requirement.cpu.ram_mb.request = 128 * (1 + i as u64 % 32);
        Arc::new(RequirementClass {
            id: ClassId(i),
            vo: "vo".parse().unwrap(),
            group: "g".parse().unwrap(),
            job_type: "user".parse().unwrap(),
            requirement,
        })
    };
    let (mut index, rule, vo) = (Index::default(), TwinRule::default(), "vo".parse().unwrap());
    index.add_classes((0..CLASSES).map(class).collect());
    for class in 0..CLASSES.min(waiting as i64) {
        let queue = QueueKey { class: ClassId(class), owner: "ada".parse().unwrap() };
        index.set(&queue, waiting.div_ceil(CLASSES as u64));
    }
    if let Some(unjudged) = index.unjudged(&vo, &offer(), rule.decider()) {
        let verdicts = vec![Verdict::Accept(0); unjudged.fitting.len()];
        index.judge(&vo, &offer(), rule.decider(), unjudged, verdicts);
    }
    index
}

fn choose(index: &mut Index, offer: &Offer) {
    let vo = "vo".parse().unwrap();
    let decider = TwinRule::default().decider;
    let slot = Slot { vo: &vo, offer, decider: &decider, free: offer };
    black_box(index.choose(slot, None, &|_| 1, &HashSet::new()).unwrap());
}

struct World {
    lifecycle: Arc<Lifecycle>,
    pilot: PilotIdentity,
    #[allow(dead_code)]
    directory: tempfile::TempDir,
}

/// A store in which `waiting` jobs wait, in submissions of 10,000.
async fn world(waiting: u64) -> World {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Arc::new(SqlStore::open(&Database::Sqlite(directory.path().join("db"))).await.unwrap());
    let parts = Parts::unobserved(store, Twins::new(), Arc::new(SystemClock));
    let lifecycle = Lifecycle::new(parts).await.unwrap();
    let document = "vo = \"vo\"\n[groups.g]\n[sites.A]\n[limits]\nmax_waiting = 10000000";
    lifecycle.set_document(Arc::new(VoDocument::from_toml(document).unwrap()));
    let pilot = PilotIdentity {
        stamp: "p".parse().unwrap(),
        vo: "vo".parse().unwrap(),
        site: "A".parse().unwrap(),
        ce: "a".parse().unwrap(),
        queue: "q".parse().unwrap(),
    };
    let world = World { lifecycle, pilot, directory };
    let mut left = waiting;
    while left > 0 {
        let jobs = left.min(10_000);
        world.submit(jobs).await;
        left -= jobs;
    }
    world
}

impl World {
    async fn submit(&self, jobs: u64) {
        let request = Request {
            vo: "vo".parse().unwrap(),
            group: "g".parse().unwrap(),
            owner: "ada".parse().unwrap(),
            description: serde_json::json!({"jobs": jobs, "requirement": {"wall_time": 60}}),
            times: vec![None],
            number: None,
            beside: Default::default(),
        };
        self.lifecycle.submit(request).await.unwrap();
    }

    /// One question of a pilot that knows of all its jobs: it gets one job, durably.
    async fn claim(&self, stamp: u64) {
        let stamp = format!("p{stamp}").parse().unwrap();
        let pilot = PilotIdentity { stamp, ..self.pilot.clone() };
        let jobs = self.lifecycle.match_slot(&pilot, offer(), Owners::One, &[]).await.unwrap();
        assert_eq!(jobs.len(), 1);
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn timed(mut call: impl FnMut(), count: usize) -> f64 {
    let sample = |_| {
        let started = Instant::now();
        call();
        started.elapsed().as_secs_f64()
    };
    median((0..count).map(sample).collect())
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("match");
    for waiting in WAITING {
        let (mut index, offer) = (index(waiting), offer());
        group.bench_with_input(BenchmarkId::new("index", waiting), &waiting, |b, _| {
            b.iter(|| choose(&mut index, &offer));
        });
        let world = runtime.block_on(world(waiting));
        let mut stamp = 0;
        group.bench_with_input(BenchmarkId::new("claimed", waiting), &waiting, |b, _| {
            b.iter_batched(
                || runtime.block_on(world.submit(1)),
                |()| {
                    stamp += 1;
                    runtime.block_on(world.claim(stamp));
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    criterion.final_summary();
    let [one, many] = WAITING.map(|waiting| {
        let (mut index, offer) = (index(waiting), offer());
        let chosen = timed(|| (0..100).for_each(|_| choose(&mut index, &offer)), 101) / 100.0;
        let world = runtime.block_on(world(waiting));
        let mut stamp = 0;
        let mut samples = Vec::new();
        for _ in 0..101 {
            runtime.block_on(world.submit(1));
            stamp += 1;
            let started = Instant::now();
            runtime.block_on(world.claim(stamp));
            samples.push(started.elapsed().as_secs_f64());
        }
        (chosen, median(samples))
    });
    println!("{:>28}{:>14}{:>14}{:>8}", "waiting jobs", WAITING[0], WAITING[1], "ratio");
    for (name, a, b) in
        [("chosen from the index", one.0, many.0), ("claimed, durably", one.1, many.1)]
    {
        let us = |seconds: f64| format!("{:.1} us", seconds * 1e6);
        println!("{name:>28}{:>14}{:>14}{:>8.2}", us(a), us(b), b / a);
    }
}
