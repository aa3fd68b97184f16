//! What a VO's match costs while another VO's rule misbehaves, against while that rule behaves: CPU
//! time of the calm VO's thread for each call of its rule, in interleaved pairs, and the latency that
//! 99 % of its calls stay below. The other VO calls without a pause in both, so that what two busy
//! cores of one machine do to each other is in both; `alone` shows what that is.
//!
//! `cargo bench -p spinor --bench neighbour`
#![allow(clippy::unwrap_used, missing_docs)]

use rustix::time::{ClockId, clock_gettime};
use spinor_model::{
    id::{ClassId, VoName},
    offer::Offer,
    policy::{MatchingRule, Policies, RequirementClass, Unobserved},
    registry::VoDocument,
    requirement::Requirement,
    time::ManualClock,
};
use spinor_plugins::{
    bound::Surroundings, compiled::CompiledCache, compiler::Compiler, engine::Engines,
    load::Loader, making::Wanted, registry::Registry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const PAIRS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);

fn offer() -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": "A", "ce": "c", "queue": "q", "cores": 8, "memory_mb": 16384, "wall_time": 3600,
        "architecture": "x86_64",
    }))
    .unwrap()
}

fn classes(vo: &VoName) -> Vec<Arc<RequirementClass>> {
    let class = |i: i64| {
        let mut requirement = Requirement { wall_time: 60, ..Requirement::default() };
        requirement.cpu.ram_mb.request = 128 * (1 + i as u64 % 64);
        let (group, job_type) = ("g".parse().unwrap(), "user".parse().unwrap());
        Arc::new(RequirementClass { id: ClassId(i), vo: vo.clone(), group, job_type, requirement })
    };
    (0..100).map(class).collect()
}

async fn registry(directory: &tempfile::TempDir) -> Registry {
    let data = directory.path().to_owned();
    let cache = CompiledCache::open(data.join("compiled"), &data.join("key")).unwrap();
    let loader = Loader { engines: Engines::new().unwrap(), cache, compiler: Compiler::here() };
    let (clock, observer) = (Arc::new(ManualClock::default()), Arc::new(Unobserved));
    let credentials = Default::default();
    let surroundings = Surroundings { data, pilot: Vec::new(), clock, observer, credentials };
    let registry = Registry::new(loader, surroundings);
    for bytes in spinor_bundle::first_party().chain([spinor_rogues::rogue()]) {
        let version = registry.try_out(bytes, None).await.unwrap();
        registry.add(version, None, BTreeSet::new(), "test");
    }
    registry
}

async fn bind(registry: &Registry, vo: &str, matching: &str) -> Arc<dyn MatchingRule> {
    let document = format!("vo = \"{vo}\"\n[groups.g]\n[matching]\n{matching}");
    let document = VoDocument::from_toml(&document).unwrap();
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
    registry.rule(&document.vo, None).unwrap()
}

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// CPU microseconds a call, and each call's wall microseconds.
fn round(rule: &dyn MatchingRule, classes: &[Arc<RequirementClass>]) -> (f64, Vec<f64>) {
    let (started, before, offer) = (Instant::now(), cpu(), offer());
    let mut walls = Vec::new();
    while started.elapsed() < ROUND {
        let call = Instant::now();
        rule.evaluate(&offer, classes).unwrap();
        walls.push(call.elapsed().as_secs_f64() * 1e6);
    }
    ((cpu() - before) * 1e6 / walls.len() as f64, walls)
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * share) as usize).min(values.len() - 1)]
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let registry = runtime.block_on(registry(&directory));
    let calm = runtime.block_on(bind(&registry, "calm", "plugin = \"matching/standard\""));
    let calm_classes = classes(&"calm".parse().unwrap());
    let (quiet, mut walls) = round(&*calm, &calm_classes);
    println!("alone: CPU {quiet:.1} us a call, p99 {:.0} us", quantile(&mut walls, 0.99));
    println!(
        "{:<10}{:>14}{:>14}{:>8}{:>14}{:>14}",
        "other VO", "CPU us beside", "misbehaving", "ratio", "p99 us beside", "misbehaving"
    );
    let good = "plugin = \"matching/rogue\"\nsettings = { mode = \"behave\" }";
    let good = runtime.block_on(bind(&registry, "bad", good));
    for mode in ["loop", "eat", "panic", "flood"] {
        let text = format!("plugin = \"matching/rogue\"\nsettings = {{ mode = \"{mode}\" }}");
        let rogue = runtime.block_on(bind(&registry, "bad", &text));
        let (busy, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (its_busy, its_stop, good) = (busy.clone(), stop.clone(), good.clone());
        let bad_classes = classes(&"bad".parse().unwrap());
        let other = thread::spawn(move || {
            while !its_stop.load(Ordering::Relaxed) {
                let rule = if its_busy.load(Ordering::Relaxed) { &rogue } else { &good };
                drop(rule.evaluate(&offer(), &bad_classes[..1]));
            }
        });
        let (mut ratios, mut alone, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cpu_alone, mut cpu_beside) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            busy.store(false, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(600));
            let (quiet, walls) = round(&*calm, &calm_classes);
            alone.extend(walls);
            busy.store(true, Ordering::Relaxed);
            let (loud, walls) = round(&*calm, &calm_classes);
            beside.extend(walls);
            ratios.push(loud / quiet);
            cpu_alone.push(quiet);
            cpu_beside.push(loud);
        }
        stop.store(true, Ordering::Relaxed);
        other.join().unwrap();
        println!(
            "{mode:<10}{:>14.1}{:>14.1}{:>8.2}{:>14.0}{:>14.0}",
            quantile(&mut cpu_alone, 0.5),
            quantile(&mut cpu_beside, 0.5),
            quantile(&mut ratios, 0.5),
            quantile(&mut alone, 0.99),
            quantile(&mut beside, 0.99)
        );
    }
}
