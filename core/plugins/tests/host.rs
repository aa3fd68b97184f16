//! The host against guests that behave and guests that do not.
#![allow(clippy::unwrap_used, missing_docs)]

use spinor_model::{
    id::{Digest, VoName},
    offer::Offer,
    policy::{
        AccountingSink, Delivery, Fault, MatchingRule, Policies, PolicyError, RequirementClass,
        Verdict,
    },
    registry::VoDocument,
    requirement::Requirement,
    time::SystemClock,
};
use spinor_plugins::{
    bound::Surroundings, compiled::CompiledCache, engine::Engines, load::Loader, registry::Registry,
};
use std::{collections::BTreeMap, sync::Arc};

struct Host {
    registry: Registry,
    directory: tempfile::TempDir,
}

async fn host() -> Host {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_owned();
    let cache = CompiledCache::open(data.join("compiled"), &data.join("key")).unwrap();
    let loader = Loader { engines: Engines::new().unwrap(), cache };
    let surroundings = Surroundings { data, pilot: Vec::new(), clock: Arc::new(SystemClock) };
    let registry = Registry::new(loader, surroundings);
    for bytes in spinor_bundle::first_party() {
        registry.load(bytes).await.unwrap();
    }
    registry.load(spinor_rogues::rogue()).await.unwrap();
    Host { registry, directory }
}

fn vo() -> VoName {
    "vo".parse().unwrap()
}

impl Host {
    async fn apply(&self, bindings: &str) -> Result<(), String> {
        let document = format!("vo = \"vo\"\n[groups.g]\n{bindings}");
        let document = VoDocument::from_toml(&document).unwrap();
        match self.registry.prepare(&document, &BTreeMap::new()).await {
            Ok(prepared) => {
                self.registry.activate(prepared);
                Ok(())
            }
            Err(findings) => Err(format!("{findings:?}")),
        }
    }

    async fn rogue(&self, mode: &str) -> Arc<dyn MatchingRule> {
        let binding =
            format!("[matching]\nplugin = \"matching/rogue\"\nsettings = {{ mode = \"{mode}\" }}");
        self.apply(&binding).await.unwrap();
        self.registry.rule(&vo()).unwrap()
    }
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
        requirement.cpu.ram_mb.request = 128 * (1 + i as u64 % 32);
        Arc::new(RequirementClass {
            id: spinor_model::id::ClassId(i),
            vo: vo(),
            group: "g".parse().unwrap(),
            job_type: ["user", "merge"][(i % 2) as usize].parse().unwrap(),
            requirement,
        })
    };
    (0..count).map(class).collect()
}

/// Asks a rule as the server does: on a thread that may be kept busy.
async fn ask(rule: &Arc<dyn MatchingRule>, count: i64) -> Result<Vec<Verdict>, PolicyError> {
    let rule = rule.clone();
    tokio::task::spawn_blocking(move || rule.evaluate(&offer(), &classes(count))).await.unwrap()
}

fn fault(result: Result<Vec<Verdict>, PolicyError>) -> Fault {
    match result {
        Err(PolicyError::Fault { plugin, fault }) => {
            assert_eq!(plugin, "matching/rogue 6.6.6");
            fault
        }
        other => panic!("no fault: {other:?}"),
    }
}

#[tokio::test]
async fn the_standard_rule_judges_as_its_native_twin() {
    let host = host().await;
    host.apply("[matching]\nplugin = \"matching/standard\"").await.unwrap();
    let (rule, twin) = (host.registry.rule(&vo()).unwrap(), spinor_twins::TwinRule::default());
    let classes = classes(1000);
    assert_eq!(rule.evaluate(&offer(), &classes), twin.evaluate(&offer(), &classes));
    assert_eq!(rule.evaluate(&offer(), &[]), Ok(Vec::new()));
}

#[tokio::test]
async fn every_fault_is_stopped_and_named_and_the_next_call_is_fresh() {
    let host = host().await;
    for (mode, expected) in [
        ("loop", "used up its fuel of 1000000000 units (limit `fuel`)"),
        ("panic", "the sky is falling"),
        ("eat", "wanted more than its 64 MiB of memory (limit `memory_mb`)"),
        ("recurse", "trapped"),
        ("sleep", "must not sleep"),
    ] {
        let rule = host.rogue(mode).await;
        let text = fault(ask(&rule, 1).await).to_string();
        assert!(text.contains(expected), "{mode}: {text}");
    }
    let rule = host.rogue("behave").await;
    assert_eq!(ask(&rule, 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_pure_guest_sees_the_same_world_in_every_call() {
    let host = host().await;
    let rule = host.rogue("peek").await;
    let once = ask(&rule, 1).await.unwrap();
    assert_eq!(ask(&rule, 1).await.unwrap(), once);
    assert!(matches!(&once[0], Verdict::Reject(text) if text.starts_with("0 ")), "{once:?}");
}

#[tokio::test]
async fn an_impure_rule_is_found_out_by_its_first_call() {
    let host = host().await;
    let rule = host.rogue("count").await;
    assert!(fault(ask(&rule, 3).await).to_string().contains("broke its contract: impure"));
}

#[tokio::test]
async fn a_flood_of_log_lines_ends_with_the_call() {
    let host = host().await;
    let rule = host.rogue("flood").await;
    // It may end well or by its fuel; it does not hang, and the server goes on.
    drop(ask(&rule, 1).await);
}

#[tokio::test]
async fn what_a_kind_may_not_have_is_refused_when_loaded() {
    let host = host().await;
    let error = host.registry.load(spinor_rogues::grabber()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "imports capability `directory`, which matching plugins may not have: they may have log"
    );
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_the_reason() {
    let host = host().await;
    let refused = |bytes: &'static [u8]| {
        let registry = &host.registry;
        async move { registry.load(bytes).await.unwrap_err().to_string() }
    };
    assert!(refused(b"hello").await.contains("not a WebAssembly component"));
    assert!(refused(b"\0asm\x01\0\0\0").await.contains("a core WebAssembly module"));
    let empty = b"\0asm\x0d\0\x01\0";
    assert!(refused(empty).await.contains("exports no interface of a policy kind"));
    let precompiled = wasmtime::Engine::default()
        .precompile_component(spinor_bundle::first_party().next().unwrap())
        .unwrap();
    let error = host.registry.load(&precompiled).await.unwrap_err().to_string();
    assert!(error.contains("precompiled code"), "{error}");
}

#[tokio::test]
async fn settings_are_held_against_the_schema_and_the_plugin() {
    let host = host().await;
    let bind =
        |settings: &str| format!("[matching]\nplugin = \"matching/rogue\"\nsettings = {settings}");
    let error = host.apply(&bind("{ mode = \"dance\" }")).await.unwrap_err();
    assert!(error.contains("matching.settings/mode"), "{error}");
    let error = host.apply(&bind("{ mode = \"behave\", wrong = true }")).await.unwrap_err();
    assert!(error.contains("matching.settings/wrong") && error.contains("is wrong"), "{error}");
    assert!(host.registry.rule(&vo()).is_err(), "nothing was bound");
}

#[tokio::test]
async fn a_swap_leaves_calls_in_flight_on_the_version_they_began_with() {
    let host = host().await;
    let old = host.rogue("behave").await;
    host.apply("[matching]\nplugin = \"matching/standard\"").await.unwrap();
    let new = host.registry.rule(&vo()).unwrap();
    assert_eq!(old.decider().plugin, "matching/rogue");
    assert_eq!(new.decider().plugin, "matching/standard");
    assert!(ask(&old, 1).await.is_ok());
    let digest = Digest::of(spinor_rogues::rogue());
    assert_eq!(old.decider().digest, digest);
}

#[tokio::test]
async fn the_file_sink_writes_into_its_grant_and_nowhere_else() {
    let host = host().await;
    let binding =
        "[accounting.files]\nplugin = \"accounting/files\"\ngrants.directory.path = \"books\"";
    host.apply(binding).await.unwrap();
    let (_, sink) = host.registry.sinks(&vo()).remove(0);
    deliver(&sink, 1..=3).await;
    deliver(&sink, 1..=4).await;
    let books = host.directory.path().join("books");
    let file = std::fs::read_dir(&books).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    // A crash in the middle of a line.
    std::fs::write(&file, &text[..text.len() - 20]).unwrap();
    deliver(&sink, 1..=4).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

async fn deliver(sink: &Arc<dyn AccountingSink>, sequences: std::ops::RangeInclusive<u64>) {
    let record = |sequence: u64| Delivery {
        sequence,
        record: serde_json::from_value(serde_json::json!({
            "id": format!("{sequence}.1"), "vo": "vo", "group": "g", "owner": "ada",
            "job": sequence, "attempt": 1, "job_type": "executable", "site": "A", "ce": "c",
            "status": "Done", "cores": 1, "started": "2026-11-24T00:00:00Z",
            "ended": "2026-11-24T00:00:01Z", "wall_seconds": 1.0, "cpu_seconds": 0.5,
            "max_memory_mb": 3,
        }))
        .unwrap(),
    };
    let records: Vec<Delivery> = sequences.map(record).collect();
    assert_eq!(sink.deliver(&records).await.unwrap().len(), records.len());
}
