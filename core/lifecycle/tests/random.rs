//! Whatever happens in whatever order: the index agrees with the store, every attempt is booked once,
//! and no job is done twice.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::{collection::vec, prelude::*, sample::Index as Pick};
use spinor_identity::subject::PilotIdentity;
use spinor_lifecycle::{Lifecycle, Parts, admission::Request, matching::Owners};
use spinor_model::{
    id::{ClassId, JobId, VoName},
    offer::Offer,
    plan::{AttemptResult, Consumption, Ending},
    protocol::Beat,
    registry::VoDocument,
    time::{ManualClock, Timestamp},
};
use spinor_store::{
    Again, Claimed, JobFilter,
    sql::{Database, SqlStore},
};
use spinor_twins::Twins;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const DOCUMENT: &str = r#"
    vo = "vo"
    [limits]
    max_attempts = 3
    lease_seconds = 60
    stalled_seconds = 300
    [groups.g]
    [sites.A]
    [sites.B]
"#;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Submit(u32),
    Claim(u8, bool, u32),
    Beat(Pick),
    Finish(Pick, i32),
    FinishAgain(Pick, i32),
    Conclude,
    Kill(Pick),
    Reschedule(Pick),
    Pass(u64),
    Watch,
    PilotDies(u8),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let code = prop_oneof![Just(0), Just(0), Just(1), Just(75)];
    prop_oneof![
        2 => (1..5u32).prop_map(Event::Submit),
        4 => (0..3u8, any::<bool>(), 1..4u32).prop_map(|(p, b, c)| Event::Claim(p, b, c)),
        3 => any::<Pick>().prop_map(Event::Beat),
        4 => (any::<Pick>(), code.clone()).prop_map(|(p, c)| Event::Finish(p, c)),
        1 => (any::<Pick>(), code).prop_map(|(p, c)| Event::FinishAgain(p, c)),
        4 => Just(Event::Conclude),
        1 => any::<Pick>().prop_map(Event::Kill),
        2 => any::<Pick>().prop_map(Event::Reschedule),
        1 => (1..400u64).prop_map(Event::Pass),
        3 => Just(Event::Watch),
        1 => (0..3u8).prop_map(Event::PilotDies),
        1 => Just(Event::Restart),
    ]
}

/// The database that the environment says.
fn database(directory: &tempfile::TempDir) -> Database {
    match spinor_test_postgres::wanted() {
        true => Database::Postgres(spinor_test_postgres::database()),
        false => Database::Sqlite(directory.path().join("db")),
    }
}

struct World {
    lifecycle: Arc<Lifecycle>,
    store: Arc<SqlStore>,
    twins: Arc<Twins>,
    clock: Arc<ManualClock>,
    claims: Vec<(u8, Claimed)>,
}

fn vo() -> VoName {
    "vo".parse().unwrap()
}

fn pilot(number: u8, site: &str) -> PilotIdentity {
    PilotIdentity {
        stamp: format!("p{number}").parse().unwrap(),
        vo: vo(),
        site: site.parse().unwrap(),
        ce: "a".parse().unwrap(),
        queue: "q".parse().unwrap(),
    }
}

fn slot(site: &str, cores: u32) -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": site, "ce": "a", "queue": "q", "cores": cores, "memory_mb": 4096 * cores,
        "wall_time": 7200, "architecture": "x86_64",
    }))
    .unwrap()
}

impl World {
    async fn over(store: Arc<SqlStore>, twins: Arc<Twins>, clock: Arc<ManualClock>) -> Self {
        let parts = Parts::unobserved(store.clone(), twins.clone(), clock.clone());
        let lifecycle = Lifecycle::new(parts).await.unwrap();
        lifecycle.set_document(Arc::new(VoDocument::from_toml(DOCUMENT).unwrap()));
        lifecycle.wake_up().await.unwrap();
        Self { lifecycle, store, twins, clock, claims: Vec::new() }
    }

    async fn happen(&mut self, event: &Event) {
        let now = self.lifecycle.now();
        match event {
            Event::Submit(jobs) => {
                let request = Request {
                    vo: vo(),
                    group: "g".parse().unwrap(),
                    owner: "ada".parse().unwrap(),
                    description: serde_json::json!({
                        "jobs": jobs, "requirement": {"wall_time": 60},
                    }),
                    times: vec![None],
                    number: None,
                    beside: Default::default(),
                };
                self.lifecycle.submit(request).await.unwrap();
            }
            Event::Claim(number, at_b, cores) => {
                let site = if *at_b { "B" } else { "A" };
                let holds: Vec<_> = self.claims.iter().map(|(_, c)| (c.id, c.attempt)).collect();
                let slot = slot(site, *cores);
                let pilot = pilot(*number, site);
                let claimed =
                    self.lifecycle.match_slot(&pilot, slot, Owners::One, &holds).await.unwrap();
                self.claims.extend(claimed.into_iter().map(|claim| (*number, claim)));
            }
            Event::Beat(pick) if !self.claims.is_empty() => {
                let (number, claim) = pick.get(&self.claims);
                let beat =
                    Beat { job: claim.id, attempt: claim.attempt, stdout_tail: String::new() };
                self.lifecycle.heartbeat(&pilot(*number, "A"), &[beat]).await.unwrap();
            }
            Event::Finish(pick, code) | Event::FinishAgain(pick, code)
                if !self.claims.is_empty() =>
            {
                let (number, claim) = pick.get(&self.claims).clone();
                let result = AttemptResult {
                    job: claim.id,
                    attempt: claim.attempt,
                    nonce: claim.nonce,
                    ending: Ending::Exited { code: *code },
                    consumption: Consumption::default(),
                    output: None,
                    missing_outputs: Vec::new(),
                    stdout_tail: String::new(),
                    stderr_tail: String::new(),
                };
                self.lifecycle.finish(&pilot(number, "A"), &result).await.unwrap();
            }
            Event::Conclude => drop(self.lifecycle.conclude_pending().await.unwrap()),
            Event::Kill(pick) | Event::Reschedule(pick) => {
                let filter = JobFilter { limit: 1000, ..JobFilter::default() };
                let jobs = self.lifecycle.store.jobs(&filter).await.unwrap();
                if jobs.is_empty() {
                    return;
                }
                let ids = [pick.get(&jobs).id];
                let store = &self.lifecycle.store;
                let (_, changes) = match event {
                    Event::Kill(_) => store.kill(&vo(), None, &ids, "test", now).await.unwrap(),
                    _ => store
                        .reschedule(&vo(), None, &ids, Again::UpTo(1_000), "test", now)
                        .await
                        .unwrap(),
                };
                self.lifecycle.note(&changes).await.unwrap();
            }
            Event::Pass(seconds) => self.clock.advance(Duration::from_secs(*seconds)),
            Event::Watch => self.lifecycle.watch().await.unwrap(),
            Event::PilotDies(number) => {
                self.lifecycle.end_pilot(&pilot(*number, "A")).await.unwrap();
            }
            Event::Restart => {
                let claims = std::mem::take(&mut self.claims);
                let (store, twins) = (self.store.clone(), self.twins.clone());
                *self = Self::over(store, twins, self.clock.clone()).await;
                self.claims = claims;
            }
            Event::Beat(_) | Event::Finish(..) | Event::FinishAgain(..) => {}
        }
    }

    async fn check(&self) {
        let mut waiting: BTreeMap<ClassId, u64> = BTreeMap::new();
        for (queue, count) in self.lifecycle.store.queues().await.unwrap() {
            *waiting.entry(queue.class).or_default() += count;
        }
        assert_eq!(self.lifecycle.waiting(&vo()), waiting, "index and store");
        let usage = self.lifecycle.store.usage(&vo()).await.unwrap();
        let ids: BTreeSet<_> = usage.iter().map(|u| u.record.id.clone()).collect();
        assert_eq!(ids.len(), usage.len(), "booked twice");
        let sequences: Vec<u64> = usage.iter().map(|u| u.sequence).collect();
        assert_eq!(sequences, (1..=usage.len() as u64).collect::<Vec<_>>());
    }

    /// Lets everything come to its end; then every attempt has been booked.
    async fn settle(&mut self) {
        for number in 0..3 {
            self.lifecycle.end_pilot(&pilot(number, "A")).await.unwrap();
        }
        while self.lifecycle.conclude_pending().await.unwrap() > 0 {}
        self.lifecycle.watch().await.unwrap();
        self.check().await;
        let booked: BTreeSet<String> = self
            .lifecycle
            .store
            .usage(&vo())
            .await
            .unwrap()
            .into_iter()
            .map(|usage| usage.record.id)
            .collect();
        let attempts = self.lifecycle.store.attempts_of_vo(&vo(), JobId(0), 10_000).await.unwrap();
        let made: BTreeSet<String> =
            attempts.iter().map(|a| format!("{}.{}", a.job, a.attempt)).collect();
        assert_eq!(booked, made, "every attempt is booked, once");
        for claim in &self.claims {
            let events = self.lifecycle.store.events(claim.1.id).await.unwrap();
            let done = |attempt| {
                let of = events.iter().filter(|e| e.attempt == attempt);
                of.filter(|e| e.status.as_str() == "Done").count()
            };
            assert!(done(claim.1.attempt) <= 1, "an attempt was done twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled(events in vec(event(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = Arc::new(SqlStore::open(&database(&directory)).await.unwrap());
            let clock = Arc::new(ManualClock::at(Timestamp(1_795_000_000_000)));
            let mut world = World::over(store, Twins::new(), clock).await;
            for event in &events {
                world.happen(event).await;
                world.check().await;
            }
            world.settle().await;
        });
    }
}
