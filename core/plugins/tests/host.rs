//! The host against guests that behave and guests that do not.
#![allow(clippy::unwrap_used, missing_docs)]

use spinor_model::{
    id::{Digest, VoName},
    offer::Offer,
    policy::{
        AccountingSink, Alarm, Concern, Decision, Delivery, Fact, Fault, GuestLine, MatchingRule,
        NoPolicy, Observer, Policies, PolicyError, QueueStanding, RequirementClass, Submitted,
        Verdict,
    },
    registry::{Binding, BindingPath, VoDocument},
    requirement::Requirement,
    time::ManualClock,
};
use spinor_plugins::{
    bound::Surroundings, compiled::CompiledCache, compiler::Compiler, engine::Engines,
    load::Loader, making::Wanted, registry::Registry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

struct Host {
    registry: Registry,
    clock: Arc<ManualClock>,
    notes: Arc<Notes>,
    directory: tempfile::TempDir,
    /// What was bound to `matching`, the latest first.
    before: Mutex<Vec<(Binding, Digest)>>,
}

/// Takes note of everything.
#[derive(Default)]
struct Notes {
    decisions: Mutex<Vec<Decision>>,
    lines: Mutex<Vec<GuestLine>>,
    alarms: Mutex<Vec<Alarm>>,
}

impl Observer for Notes {
    fn decided(&self, decision: Decision) {
        self.decisions.lock().unwrap().push(decision);
    }
    fn wrote(&self, line: GuestLine) {
        self.lines.lock().unwrap().push(line);
    }
    fn alarmed(&self, alarm: Alarm) {
        self.alarms.lock().unwrap().push(alarm);
    }
}

/// Of all tests, so that what comes with the server is compiled once.
fn cache() -> CompiledCache {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-by-host");
        CompiledCache::open(folder.clone(), &folder.join("key")).unwrap();
        folder
    });
    CompiledCache::open(FOLDER.clone(), &FOLDER.join("key")).unwrap()
}

async fn host() -> Host {
    let directory = tempfile::tempdir().unwrap();
    let (data, cache) = (directory.path().to_owned(), cache());
    let loader = Loader { engines: Engines::new().unwrap(), cache, compiler: Compiler::here() };
    let (clock, notes) = (Arc::new(ManualClock::default()), Arc::new(Notes::default()));
    let surroundings = Surroundings {
        data,
        pilot: Vec::new(),
        clock: clock.clone(),
        observer: notes.clone(),
        credentials: Default::default(),
    };
    let registry = Registry::new(loader, surroundings);
    for bytes in spinor_bundle::first_party().chain([spinor_rogues::rogue()]) {
        let version = registry.try_out(bytes, None).await.unwrap();
        registry.add(version, None, BTreeSet::new(), "test");
    }
    Host { registry, clock, notes, directory, before: Mutex::default() }
}

fn vo() -> VoName {
    "vo".parse().unwrap()
}

impl Host {
    async fn apply(&self, bindings: &str) -> Result<(), String> {
        let document = format!("vo = \"vo\"\n[groups.g]\n{bindings}");
        let document = VoDocument::from_toml(&document).unwrap();
        let (pinned, before) = (BTreeMap::new(), self.before.lock().unwrap().clone());
        let previous = BTreeMap::from([(BindingPath::Matching, before)]);
        let wanted = Wanted {
            document: &document,
            pinned: &pinned,
            previous: &previous,
            renewed: None,
            inherited: &BTreeSet::new(),
            lenient: false,
        };
        match self.registry.prepare(wanted).await {
            Ok(prepared) => {
                let bound =
                    document.matching.clone().zip(prepared.resolutions().remove("matching"));
                self.before.lock().unwrap().splice(0..0, bound);
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
        self.registry.rule(&vo(), None).unwrap()
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
    let (rule, twin) =
        (host.registry.rule(&vo(), None).unwrap(), spinor_twins::TwinRule::default());
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
    let lines = host.notes.lines.lock().unwrap().len();
    assert!((1..=200).contains(&lines), "{lines} lines, two calls of 100 at most");
}

const STANDARD: &str = "[matching]\nplugin = \"matching/standard\"";

/// A rogue that misbehaves on jobs of type `merge` alone.
fn on_merge(mode: &str) -> String {
    format!(
        "[matching]\nplugin = \"matching/rogue\"\nsettings = {{ mode = \"{mode}\", only = \"merge\" }}"
    )
}

#[tokio::test]
async fn a_version_that_trips_is_replaced_by_the_one_before_until_it_has_rested() {
    let host = host().await;
    host.apply(STANDARD).await.unwrap();
    let rule = host.rogue("panic").await;
    for _ in 0..3 {
        assert!(ask(&rule, 1).await.is_err());
    }
    let stand_in = host.registry.rule(&vo(), None).unwrap();
    assert_eq!(stand_in.decider().plugin, "matching/standard");
    assert!(ask(&stand_in, 4).await.is_ok());
    let alarms = host.notes.alarms.lock().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].concern, Concern::Tripped);
    assert!(alarms[0].reason.contains("the sky is falling"), "{alarms:?}");
    host.clock.advance(Duration::from_secs(61));
    assert_eq!(host.registry.rule(&vo(), None).unwrap().decider().plugin, "matching/rogue");
}

#[tokio::test]
async fn without_anyone_to_stand_in_the_reason_is_told() {
    let host = host().await;
    let rule = host.rogue("panic").await;
    for _ in 0..3 {
        assert!(ask(&rule, 1).await.is_err());
    }
    let Err(none) = host.registry.rule(&vo(), None) else { panic!("it decides") };
    assert!(matches!(none, NoPolicy::Tripped { .. }));
    assert!(none.to_string().contains("matching/rogue 6.6.6 has tripped"), "{none}");
    let opted_in = "[matching]\nplugin = \"matching/rogue\"\nfallback = \"built-in\"\nsettings = { mode = \"panic\" }";
    host.before.lock().unwrap().clear();
    host.apply(opted_in).await.unwrap();
    let rule = host.registry.rule(&vo(), None).unwrap();
    assert_eq!(rule.decider().plugin, "matching/standard", "the binding opted in");
}

#[tokio::test]
async fn poison_is_found_in_a_batch_and_the_others_are_judged() {
    let host = host().await;
    host.apply(&on_merge("panic")).await.unwrap();
    let rule = host.registry.rule(&vo(), None).unwrap();
    // One class of eight is of type `merge`.
    let all = classes(16).into_iter().enumerate();
    let mixed: Vec<_> = all.filter(|(i, _)| i % 2 == 0 || *i == 7).map(|(_, c)| c).collect();
    let (asked, batch) = (rule.clone(), mixed.clone());
    let verdicts = tokio::task::spawn_blocking(move || asked.evaluate(&offer(), &batch));
    let verdicts = verdicts.await.unwrap().unwrap();
    for (class, verdict) in mixed.iter().zip(&verdicts) {
        match class.job_type.as_str() {
            "merge" => {
                assert!(matches!(verdict, Verdict::Held(why) if why.contains("sky")), "{verdict:?}")
            }
            _ => assert_eq!(*verdict, Verdict::Accept(0)),
        }
    }
    let alarms = host.notes.alarms.lock().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].concern, Concern::Quarantined);
    assert!(host.registry.rule(&vo(), None).is_ok(), "one job type does not trip it");
}

#[tokio::test]
async fn a_rule_that_breaks_on_half_of_everything_trips() {
    let host = host().await;
    host.apply(STANDARD).await.unwrap();
    host.apply(&on_merge("panic")).await.unwrap();
    let rule = host.registry.rule(&vo(), None).unwrap();
    for _ in 0..3 {
        assert!(ask(&rule, 64).await.is_err());
    }
    let rule = host.registry.rule(&vo(), None).unwrap();
    assert_eq!(rule.decider().plugin, "matching/standard");
}

#[tokio::test]
async fn a_shadow_is_compared_and_decides_nothing() {
    let host = host().await;
    let shadow = format!(
        "{STANDARD}\n[matching.candidate]\nplugin = \"matching/standard\"\nstage = \"shadow\"\nsettings = {{ avoid = {{ merge = [\"A\"] }} }}"
    );
    host.apply(&shadow).await.unwrap();
    let pilot = "p".parse().unwrap();
    let rule = host.registry.rule(&vo(), Some(&pilot)).unwrap();
    let verdicts = ask(&rule, 64).await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Accept(_))));
    let snapshot = host.registry.snapshot();
    let trial = snapshot.place(&vo(), &BindingPath::Matching).unwrap().candidate.clone().unwrap();
    for _ in 0..500 {
        if trial.comparison.differences().compared == 64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let differences = trial.comparison.differences();
    assert_eq!((differences.same, differences.lost), (32, 32), "{differences:?}");
    assert_eq!(differences.starved(), [&"merge".parse().unwrap()]);
    assert!(host.notes.alarms.lock().unwrap().is_empty(), "a shadow does no harm");
}

#[tokio::test]
async fn a_canary_decides_for_its_share_always_the_same_and_drifts_with_an_alarm() {
    let host = host().await;
    let canary = format!(
        "{STANDARD}\n[matching.candidate]\nplugin = \"matching/standard\"\nstage = \"canary\"\nshare = 30\nsettings = {{ avoid = {{ merge = [\"A\"] }} }}"
    );
    host.apply(&canary).await.unwrap();
    let settings = |pilot: i32| {
        let stamp = format!("pilot{pilot}").parse().unwrap();
        host.registry.rule(&vo(), Some(&stamp)).unwrap().decider().settings
    };
    let first: Vec<_> = (0..1_000).map(settings).collect();
    assert_eq!(first, (0..1_000).map(settings).collect::<Vec<_>>(), "sticky");
    let bound = host.registry.rule(&vo(), None).unwrap().decider().settings;
    let share = first.iter().filter(|settings| **settings != bound).count();
    assert!((250..350).contains(&share), "{share} of 1,000 for 30 %");
    let of_canary = first.iter().position(|settings| *settings != bound).unwrap();
    let stamp = format!("pilot{of_canary}").parse().unwrap();
    let rule = host.registry.rule(&vo(), Some(&stamp)).unwrap();
    ask(&rule, 64).await.unwrap();
    for _ in 0..500 {
        if !host.notes.alarms.lock().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let alarms = host.notes.alarms.lock().unwrap().clone();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].concern, Concern::Drifted);
    assert!(alarms[0].reason.contains("merge"), "{alarms:?}");
}

#[tokio::test]
async fn decisions_are_told_with_all_that_is_needed_to_ask_again() {
    let host = host().await;
    host.apply(STANDARD).await.unwrap();
    let rule = host.registry.rule(&vo(), None).unwrap();
    let verdicts = ask(&rule, 3).await.unwrap();
    let decisions = host.notes.decisions.lock().unwrap().clone();
    assert_eq!(decisions.len(), 1);
    assert_eq!(&decisions[0].decider, rule.decider());
    assert_eq!(decisions[0].answer, spinor_model::policy::Answer::Verdicts(verdicts));
}

#[tokio::test]
async fn a_handler_remembers_what_it_said_and_its_successor_does_not() {
    const EXECUTABLE: &str = "[handling.executable]\nplugin = \"handling/executable\"";
    let host = host().await;
    host.apply(EXECUTABLE).await.unwrap();
    let job_type = "executable".parse().unwrap();
    let handler = || host.registry.handler(&vo(), &job_type, "s").unwrap();
    let submitted = |description: &str| Submitted {
        description: description.to_owned(),
        vo: vo(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        max_jobs: 10,
    };
    let (one, bad) = (submitted(r#"{"executable": "true"}"#), submitted(r#"{"executable": 7}"#));
    let sweep = submitted(r#"{"executable": "true", "parameters": {"seed": [1, 2]}}"#);
    let first = handler();
    assert!(first.remembered(&one).is_none());
    let said = first.admit_and_plan(&one).unwrap();
    assert!(first.admit_and_plan(&bad).is_err());
    assert_eq!(first.admit_and_plan(&sweep).unwrap().0.jobs, 2);
    let noted = host.notes.decisions.lock().unwrap().clone();
    assert_eq!(first.remembered(&one), Some(said));
    let again = host.notes.decisions.lock().unwrap().split_off(noted.len());
    assert_eq!(again, noted[..1], "what is remembered is recorded as what was asked");
    let of_bob = Submitted { owner: "bob".parse().unwrap(), ..one.clone() };
    for other in [&of_bob, &bad, &sweep] {
        assert!(first.remembered(other).is_none());
    }
    host.apply(&format!("{EXECUTABLE}\nsettings = {{ retry_delay_seconds = 4 }}")).await.unwrap();
    assert!(handler().remembered(&one).is_none());
}

#[tokio::test]
async fn what_a_kind_may_not_have_is_refused_when_loaded() {
    let host = host().await;
    let error =
        host.registry.try_out(spinor_rogues::grabber(), None).await.unwrap_err().to_string();
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
        async move { registry.try_out(bytes, None).await.unwrap_err().to_string() }
    };
    assert!(refused(b"hello").await.contains("not a WebAssembly component"));
    assert!(refused(b"\0asm\x01\0\0\0").await.contains("a core WebAssembly module"));
    let empty = b"\0asm\x0d\0\x01\0";
    assert!(refused(empty).await.contains("exports no interface of a policy kind"));
    let precompiled = wasmtime::Engine::default()
        .precompile_component(spinor_bundle::first_party().next().unwrap())
        .unwrap();
    let error = host.registry.try_out(&precompiled, None).await.unwrap_err().to_string();
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
    assert!(host.registry.rule(&vo(), None).is_err(), "nothing was bound");
}

#[tokio::test]
async fn a_swap_leaves_calls_in_flight_on_the_version_they_began_with() {
    let host = host().await;
    let old = host.rogue("behave").await;
    host.apply("[matching]\nplugin = \"matching/standard\"").await.unwrap();
    let new = host.registry.rule(&vo(), None).unwrap();
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

#[tokio::test]
async fn golden_cases_hold_for_what_carries_them_and_a_liar_is_found_out() {
    let host = host().await;
    let version = |name: &str| {
        let versions = host.registry.versions();
        versions.iter().find(|e| e.version.card.name == name).unwrap().version.clone()
    };
    assert_eq!(host.registry.check_golden(&version("matching/standard")).await, Ok(2));
    assert_eq!(host.registry.check_golden(&version("matching/green")).await, Ok(2));
    assert_eq!(host.registry.check_golden(&version("matching/rogue")).await, Ok(1));
    // The same component, which now says of itself that it would score 7.
    let text = br#""verdicts":[{"accept":0}]"#;
    let mut liar = spinor_rogues::rogue().to_vec();
    let compact = liar.windows(text.len()).position(|window| window == text);
    let spaced = br#""verdicts": [{"accept": 0}]"#;
    let at = compact.map(|at| at + text.len()).or_else(|| {
        liar.windows(spaced.len()).position(|window| window == spaced).map(|at| at + spaced.len())
    });
    let digit = at.unwrap() - 3;
    assert_eq!(liar[digit], b'0');
    liar[digit] = b'7';
    let version = host.registry.try_out(&liar, None).await.unwrap();
    let error = host.registry.check_golden(&version).await.unwrap_err().to_string();
    assert!(error.contains("golden case `behaves` fails: answers [Accept(0)]"), "{error}");
}

#[tokio::test]
async fn pilots_are_steered_by_facts_and_only_by_what_steers_pilots() {
    let host = host().await;
    assert!(matches!(host.registry.supply(&vo()), Err(NoPolicy::Unbound { .. })));
    host.apply("[supply]\nplugin = \"matching/green\"\nsettings.most = 1000").await.unwrap();
    let policy = host.registry.supply(&vo()).unwrap();
    let standing = |site: &str| {
        let offer = Offer { site: site.parse().unwrap(), ..offer() };
        QueueStanding { offer, demand_cores: 8, waiting: 0, running: 0, empty: 0 }
    };
    let fact = |site: &str, value| {
        let (name, subject) = ("carbon-intensity".to_owned(), site.to_owned());
        Fact { name, subject, value }
    };
    let facts = [fact("WIND", 20.0), fact("COAL", 900.0)];
    let queues = [standing("WIND"), standing("COAL"), standing("ELSE")];
    let asked = tokio::task::spawn_blocking(move || policy.prefer(&queues, &facts));
    let weights = asked.await.unwrap().unwrap();
    assert_eq!(weights[1], 0.0, "900 times the usual PUE is more than the most");
    assert!(weights[0] > 300.0 * weights[2], "{weights:?}");

    let rule = host.apply("[supply]\nplugin = \"matching/standard\"").await.unwrap_err();
    assert!(rule.contains("is a matching plugin: `supply` takes supply plugins"), "{rule}");
    let bad = "[supply]\nplugin = \"matching/green\"\nsettings.pue = { A = 0.5 }";
    assert!(host.apply(bad).await.unwrap_err().contains("must be 1 or more"));
}
