//! A lifecycle over a real store, with native twins for plugins and a clock that the test moves.
#![allow(clippy::unwrap_used, dead_code)]

use spinor_identity::subject::PilotIdentity;
use spinor_lifecycle::{Lifecycle, Parts, admission::Request, matching::Owners};
use spinor_model::{
    id::JobId,
    offer::Offer,
    plan::{AttemptResult, Consumption, Ending},
    protocol::Beat,
    registry::VoDocument,
    state::JobState,
    time::{ManualClock, Timestamp},
};
use spinor_store::{
    BeatAnswer, Claimed, ResultAnswer, Search, Table,
    sql::{Database, SqlStore},
};
use spinor_twins::Twins;
use std::{sync::Arc, time::Duration};

/// The database that the environment says.
fn database(directory: &tempfile::TempDir) -> Database {
    match spinor_test_postgres::wanted() {
        true => Database::Postgres(spinor_test_postgres::database()),
        false => Database::Sqlite(directory.path().join("db")),
    }
}

pub struct World {
    pub lifecycle: Arc<Lifecycle>,
    pub twins: Arc<Twins>,
    pub clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

pub const DOCUMENT: &str = r#"
    vo = "vo"
    [limits]
    max_attempts = 2
    lease_seconds = 60
    stalled_seconds = 600
    [groups.g]
    [sites.A]
    [sites.B]
    [ces.a]
    site = "A"
    queues.q = { cores = 1, memory_mb = 4096, wall_time = 7200, max_pilots = 100 }
"#;

pub async fn world(document: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqlStore::open(&database(&directory)).await.unwrap());
    let clock = Arc::new(ManualClock::at(Timestamp(1_795_000_000_000)));
    let twins = Twins::new();
    let parts = Parts::unobserved(store, twins.clone(), clock.clone());
    let lifecycle = Lifecycle::new(parts).await.unwrap();
    lifecycle.set_document(Arc::new(VoDocument::from_toml(document).unwrap()));
    World { lifecycle, twins, clock, directory }
}

pub fn pilot(stamp: &str, site: &str) -> PilotIdentity {
    PilotIdentity {
        stamp: stamp.parse().unwrap(),
        vo: "vo".parse().unwrap(),
        site: site.parse().unwrap(),
        ce: "a".parse().unwrap(),
        queue: "q".parse().unwrap(),
    }
}

pub fn slot(site: &str, cores: u32) -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": site, "ce": "a", "queue": "q", "cores": cores, "memory_mb": 4096 * cores,
        "wall_time": 7200, "architecture": "x86_64",
    }))
    .unwrap()
}

pub fn result(job: &Claimed, ending: Ending) -> AttemptResult {
    AttemptResult {
        job: job.id,
        attempt: job.attempt,
        nonce: job.nonce.clone(),
        ending,
        consumption: Consumption { wall_seconds: 2.0, cpu_seconds: 1.0, max_memory_mb: 5 },
        output: None,
        missing_outputs: Vec::new(),
        stdout_tail: String::new(),
        stderr_tail: String::new(),
    }
}

impl World {
    pub async fn submit(&self, jobs: u32) -> Vec<JobId> {
        self.submit_asking(jobs, serde_json::json!({"wall_time": 3600})).await
    }

    pub async fn submit_asking(&self, jobs: u32, requirement: serde_json::Value) -> Vec<JobId> {
        self.submit_as("ada", jobs, requirement).await
    }

    pub async fn submit_as(
        &self,
        owner: &str,
        jobs: u32,
        requirement: serde_json::Value,
    ) -> Vec<JobId> {
        let request = Request {
            vo: "vo".parse().unwrap(),
            group: "g".parse().unwrap(),
            owner: owner.parse().unwrap(),
            description: serde_json::json!({"jobs": jobs, "requirement": requirement}),
            times: vec![None],
            number: None,
            beside: Default::default(),
        };
        self.lifecycle.submit(request).await.unwrap()
    }

    pub async fn claim(&self, stamp: &str, site: &str, cores: u32) -> Vec<Claimed> {
        let pilot = pilot(stamp, site);
        self.lifecycle.match_slot(&pilot, slot(site, cores), Owners::One, &[]).await.unwrap()
    }

    pub async fn beat(&self, stamp: &str, job: &Claimed) -> BeatAnswer {
        let beat = Beat { job: job.id, attempt: job.attempt, stdout_tail: "tail".to_owned() };
        self.lifecycle.heartbeat(&pilot(stamp, "A"), &[beat]).await.unwrap()[0]
    }

    pub async fn finish(&self, stamp: &str, job: &Claimed, ending: Ending) -> ResultAnswer {
        self.lifecycle.finish(&pilot(stamp, "A"), &result(job, ending)).await.unwrap()
    }

    pub async fn state(&self, id: JobId) -> JobState {
        self.lifecycle.store.job(id).await.unwrap().unwrap().status
    }

    /// What a search shows of all jobs, as JSON.
    pub async fn columns(&self, names: &[&str]) -> Vec<Vec<String>> {
        let search = Search {
            table: Table::Jobs,
            vo: Some("vo".parse().unwrap()),
            conditions: Vec::new(),
            columns: names.iter().map(|name| Table::Jobs.column(name).unwrap()).collect(),
            sort: vec![(Table::Jobs.key(), false)],
            distinct: false,
            offset: 0,
            limit: 10,
        };
        let found = self.lifecycle.store.search(&search).await.unwrap();
        let values = found.rows.values().unwrap();
        values.iter().map(|row| row.iter().map(|value| value.get().to_owned()).collect()).collect()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub const DONE: Ending = Ending::Exited { code: 0 };
