//! The standard rule in WASM against its native twin: cold, and as the matcher asks it (memoised).
//!
//! `cargo bench -p spinor --bench rule` prints medians, and ratios at the end.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BenchmarkId, Criterion};
use spinor_lifecycle::index::{Index, Slot};
use spinor_model::{
    id::{ClassId, VoName},
    offer::Offer,
    policy::{MatchingRule, Policies, RequirementClass, Unobserved},
    registry::VoDocument,
    requirement::Requirement,
    time::SystemClock,
};
use spinor_plugins::{
    bound::Surroundings, compiled::CompiledCache, compiler::Compiler, engine::Engines,
    load::Loader, making::Wanted, registry::Registry,
};
use spinor_store::QueueKey;
use spinor_twins::TwinRule;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const SIZES: [i64; 3] = [1, 100, 1000];

fn vo() -> VoName {
    "vo".parse().unwrap()
}

fn offer() -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": "A", "ce": "c", "queue": "q", "cores": 8, "memory_mb": 16384, "wall_time": 3600,
        "architecture": "x86_64",
    }))
    .unwrap()
}

fn classes(count: i64) -> Vec<Arc<RequirementClass>> {
    let class = |i: i64| {
        let mut requirement = Requirement { wall_time: 60, ..Requirement::default() };
        requirement.cpu.num_cores.min = 1 + (i % 8) as u32;
        requirement.cpu.ram_mb.request = 128 * (1 + i as u64 % 64);
        Arc::new(RequirementClass {
            id: ClassId(i),
            vo: vo(),
            group: "g".parse().unwrap(),
            job_type: ["user", "merge", "simulation"][(i % 3) as usize].parse().unwrap(),
            requirement,
        })
    };
    (0..count).map(class).collect()
}

fn wasm_rule() -> (Arc<dyn MatchingRule>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_owned();
    let cache = CompiledCache::open(data.join("compiled"), &data.join("key")).unwrap();
    let loader = Loader { engines: Engines::new().unwrap(), cache, compiler: Compiler::here() };
    let (clock, observer) = (Arc::new(SystemClock), Arc::new(Unobserved));
    let surroundings =
        Surroundings { data, pilot: Vec::new(), clock, observer, credentials: <_>::default() };
    let registry = Registry::new(loader, surroundings);
    let document = "vo = \"vo\"\n[groups.g]\n[matching]\nplugin = \"matching/standard\"";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for bytes in spinor_bundle::first_party() {
            let version = registry.try_out(bytes, None).await.unwrap();
            registry.add(version, None, BTreeSet::new(), "test");
        }
        let document = VoDocument::from_toml(document).unwrap();
        let (pinned, previous) = (BTreeMap::new(), BTreeMap::new());
        let wanted = Wanted {
            document: &document,
            pinned: &pinned,
            previous: &previous,
            renewed: None,
            inherited: &BTreeSet::new(),
            lenient: false,
        };
        registry.activate(registry.prepare(wanted).await.unwrap());
    });
    (registry.rule(&vo(), None).unwrap(), directory)
}

/// An index in which every class waits and has been judged by `rule`.
fn warm(rule: &dyn MatchingRule, count: i64) -> Index {
    let mut index = Index::default();
    index.add_classes(classes(count));
    for class in 0..count {
        let queue = QueueKey { class: ClassId(class), owner: "ada".parse().unwrap() };
        index.set(&queue, 1_000_000);
    }
    if let Some(unjudged) = index.unjudged(&vo(), &offer(), rule.decider()) {
        let verdicts = rule.evaluate(&offer(), &unjudged.fitting).unwrap();
        index.judge(&vo(), &offer(), rule.decider(), unjudged, verdicts);
    }
    index
}

/// One match as the matcher makes it: is everything judged, and whose turn is it?
fn matched(index: &mut Index, rule: &dyn MatchingRule, offer: &Offer) {
    assert!(index.unjudged(&vo(), offer, rule.decider()).is_none());
    let vo = vo();
    let slot = Slot { vo: &vo, offer, decider: rule.decider(), free: offer };
    black_box(index.choose(slot, None, &|_| 1, &HashSet::new()));
}

/// Median seconds of one call, over 31 batches of at least 2 ms.
fn median(mut call: impl FnMut()) -> f64 {
    let (mut rounds, started) = (0u32, Instant::now());
    while started.elapsed() < Duration::from_millis(2) {
        call();
        rounds += 1;
    }
    let mut batches: Vec<f64> = (0..31)
        .map(|_| {
            let started = Instant::now();
            (0..rounds).for_each(|_| call());
            started.elapsed().as_secs_f64() / f64::from(rounds)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[15]
}

fn main() {
    let (wasm, _directory) = wasm_rule();
    let twin: Arc<dyn MatchingRule> = Arc::new(TwinRule::default());
    let mut criterion = Criterion::default().configure_from_args();
    for size in SIZES {
        let (classes, offer) = (classes(size), offer());
        let mut group = criterion.benchmark_group("rule");
        for (name, rule) in [("wasm", &wasm), ("native", &twin)] {
            group.bench_with_input(
                BenchmarkId::new(format!("cold/{name}"), size),
                &size,
                |b, _| {
                    b.iter(|| rule.evaluate(&offer, &classes).unwrap());
                },
            );
            let mut index = warm(&**rule, size);
            group.bench_with_input(
                BenchmarkId::new(format!("steady/{name}"), size),
                &size,
                |b, _| {
                    b.iter(|| matched(&mut index, &**rule, &offer));
                },
            );
        }
    }
    criterion.final_summary();
    println!(
        "{:>8}{:>14}{:>14}{:>8}{:>14}{:>14}{:>8}",
        "classes", "cold wasm", "native", "ratio", "steady wasm", "native", "ratio"
    );
    for size in SIZES {
        let (classes, offer) = (classes(size), offer());
        let cold = |rule: &Arc<dyn MatchingRule>| {
            median(|| drop(black_box(rule.evaluate(&offer, &classes))))
        };
        let steady = |rule: &Arc<dyn MatchingRule>| {
            let mut index = warm(&**rule, size);
            median(move || matched(&mut index, &**rule, &self::offer()))
        };
        let (a, b, c, d) = (cold(&wasm), cold(&twin), steady(&wasm), steady(&twin));
        let us = |seconds: f64| format!("{:.2} us", seconds * 1e6);
        println!(
            "{size:>8}{:>14}{:>14}{:>8.1}{:>14}{:>14}{:>8.2}",
            us(a),
            us(b),
            a / b,
            us(c),
            us(d),
            d / c
        );
    }
}
