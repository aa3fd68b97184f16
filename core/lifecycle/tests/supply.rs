//! Pilots follow demand, over a real store, with a CE that the test drives.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use spinor_lifecycle::downtimes::Downtime;
use spinor_model::{
    policy::{Fact, PilotStatus, PilotStream},
    state::{JobState, PilotState},
};
use spinor_store::{FactRecord, PilotRecord};
use std::{sync::Arc, time::Duration};
use world::{DOCUMENT, World, pilot, world};

impl World {
    /// So many rounds of supply.
    async fn supply(&self, rounds: usize) -> usize {
        for _ in 0..rounds {
            self.lifecycle.supply().await.unwrap();
        }
        self.twins.backend.submitted().len()
    }

    /// The first pilot that was sent.
    async fn first(&self) -> PilotRecord {
        let stamp = self.twins.backend.submitted()[0].stamp.clone();
        self.lifecycle.store.pilot(&stamp).await.unwrap().unwrap()
    }

    /// Tells weights of CEs, which count for a minute.
    async fn tell_weights(&self, weights: &[(&str, f64)]) {
        let now = self.lifecycle.now();
        let fact = |(ce, value): &(&str, f64)| FactRecord {
            fact: Fact { name: "weight".to_owned(), subject: (*ce).to_owned(), value: *value },
            told: now,
            until: now.plus(Duration::from_secs(60)),
        };
        let facts: Vec<FactRecord> = weights.iter().map(fact).collect();
        self.lifecycle.store.tell_facts(&"vo".parse().unwrap(), &facts).await.unwrap();
    }

    /// Why each queue got no more.
    fn why(&self) -> Vec<String> {
        let mut told = self.lifecycle.supplied(&"vo".parse().unwrap());
        told.sort_by(|a, b| a.ce.cmp(&b.ce));
        told.into_iter().map(|told| told.why).collect()
    }
}

#[tokio::test]
async fn a_dead_pilot_is_proof_and_its_jobs_start_anew_at_once() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    world.lifecycle.supply().await.unwrap();
    let stamp = world.twins.backend.submitted()[0].stamp.to_string();
    world.claim(&stamp, "A", 1).await;
    world.twins.backend.end_all(PilotStatus::Failed("node lost".to_owned()));
    world.lifecycle.supply().await.unwrap();
    world.lifecycle.conclude_pending().await.unwrap();
    assert_eq!(world.state(job).await, JobState::Waiting);
    let pilot = world.lifecycle.store.pilot(&stamp.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((pilot.status, &*pilot.status_reason), (PilotState::Failed, "node lost"));
}

#[tokio::test]
async fn three_ces_and_ten_jobs_make_ten_pilots() {
    let mut document = DOCUMENT.to_owned();
    for ce in ["b", "c"] {
        document.push_str(&format!(
            "[ces.{ce}]\nsite = \"A\"\nqueues.q = {{ cores = 1, memory_mb = 4096, wall_time = 7200, max_pilots = 100 }}\n"
        ));
    }
    let world = world(&document).await;
    world.submit(10).await;
    for _ in 0..3 {
        world.lifecycle.supply().await.unwrap();
    }
    assert_eq!(world.twins.backend.submitted().len(), 10);
}

const THREE: &str = r#"
    [ces.b]
    site = "B"
    queues.q = { cores = 1, memory_mb = 4096, wall_time = 7200, max_pilots = 100 }
    [ces.c]
    site = "B"
    queues.q = { cores = 1, memory_mb = 4096, wall_time = 7200, max_pilots = 3 }
"#;

#[tokio::test]
async fn pilots_go_where_a_policy_says_in_proportion_and_within_limits() {
    let world = world(&format!("{DOCUMENT}{THREE}")).await;
    *world.twins.supply.lock().unwrap() = Some(Arc::default());
    let vo = "vo".parse().unwrap();
    world.tell_weights(&[("a", 1.0), ("b", 3.0), ("c", 100.0)]).await;
    world.submit(43).await;
    world.supply(1).await;
    let sent = || {
        let mut told = world.lifecycle.supplied(&vo);
        told.sort_by(|a, b| a.ce.cmp(&b.ce));
        told.into_iter().map(|told| told.sent).collect::<Vec<_>>()
    };
    assert_eq!(sent(), [10, 30, 3], "one to three, and no more than fit into c");

    world.tell_weights(&[("b", 0.0)]).await;
    world.submit(10).await;
    world.supply(1).await;
    assert_eq!(sent(), [10, 0, 0]);
    assert_eq!(world.why()[1], "matching/twin-supply 1.0.0 sends none there");
    world.pass(61);
    world.submit(10).await;
    world.supply(1).await;
    assert_eq!(sent(), [10, 0, 0], "too old to count: the one that has fewer");
}

#[tokio::test]
async fn jobs_that_trickle_in_are_dealt_out_in_proportion_as_well() {
    let world = world(&format!("{DOCUMENT}{THREE}")).await;
    *world.twins.supply.lock().unwrap() = Some(Arc::default());
    let vo = "vo".parse().unwrap();
    world.tell_weights(&[("a", 1.0), ("b", 1.5), ("c", 0.0)]).await;
    for _ in 0..10 {
        world.submit(1).await;
        world.supply(1).await;
    }
    let pilots = world.lifecycle.store.pilots(Some(&vo), false).await.unwrap();
    let there = |ce: &str| pilots.iter().filter(|pilot| pilot.ce.as_str() == ce).count();
    assert_eq!((there("a"), there("b"), there("c")), (4, 6, 0));
}

#[tokio::test]
async fn eight_cores_serve_eight_jobs_and_limits_hold() {
    let document = DOCUMENT.replace("cores = 1, memory_mb = 4096", "cores = 8, memory_mb = 32768");
    let world = world(&document.replace("max_pilots = 100", "max_pilots = 2")).await;
    world.submit(9).await;
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 2, "8 + 1");
    world.submit(100).await;
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 2, "the queue's limit");
}

#[tokio::test]
async fn a_queue_whose_pilots_found_no_work_is_left_alone_for_a_while() {
    let world = world(DOCUMENT).await;
    world.submit(1).await;
    world.lifecycle.supply().await.unwrap();
    world.twins.backend.end_all(PilotStatus::Done);
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 1, "it backs off");
    world.pass(6);
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 2, "and tries again");
}

#[tokio::test]
async fn a_submission_that_was_cut_off_is_found_not_repeated() {
    let world = world(DOCUMENT).await;
    world.submit(1).await;
    world.twins.backend.cut_off(true);
    for _ in 0..3 {
        world.lifecycle.supply().await.unwrap();
        world.pass(11);
    }
    assert_eq!(world.twins.backend.submitted().len(), 1);
    let stamp = world.twins.backend.submitted()[0].stamp.clone();
    let pilot = world.lifecycle.store.pilot(&stamp).await.unwrap().unwrap();
    assert_eq!(pilot.reference, Some(stamp.to_string()));
}

#[tokio::test]
async fn a_pilot_that_says_goodbye_without_having_worked_backs_its_queue_off() {
    let world = world(DOCUMENT).await;
    world.submit(1).await;
    world.lifecycle.supply().await.unwrap();
    let stamp = world.twins.backend.submitted()[0].stamp.to_string();
    world.lifecycle.end_pilot(&pilot(&stamp, "A")).await.unwrap();
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 1);
    world.pass(6);
    world.lifecycle.supply().await.unwrap();
    assert_eq!(world.twins.backend.submitted().len(), 2);
}

#[tokio::test]
async fn a_burst_is_followed_within_two_rounds_and_no_longer_than_it_lasts() {
    let world = world(&DOCUMENT.replace("max_pilots = 100", "max_pilots = 700")).await;
    let jobs = world.submit(10_000).await;
    assert_eq!(world.supply(2).await, 700);
    let (vo, now) = ("vo".parse().unwrap(), world.lifecycle.now());
    let (_, changes) = world.lifecycle.store.kill(&vo, None, &jobs, "ada", now).await.unwrap();
    world.lifecycle.note(&changes).await.unwrap();
    world.twins.backend.end_all(PilotStatus::Done);
    world.pass(3600);
    assert_eq!(world.supply(5).await, 700);
    world.pass(60);
    assert_eq!(world.supply(1).await, 700);
    assert_eq!(world.why(), ["no job waits that could go there"]);
}

#[tokio::test]
async fn those_that_are_closed_get_none_and_hold_none_back() {
    let mut document = DOCUMENT.to_owned();
    let ce = |name: &str, site: &str, more: &str, queue: &str| {
        format!(
            "[ces.{name}]\nsite = \"{site}\"\n{more}\nqueues.q = {{ cores = 1, memory_mb = 4096, wall_time = 7200, {queue} }}\n"
        )
    };
    document.push_str(&ce("banned", "A", "banned = true", "max_pilots = 100"));
    document.push_str("[sites.C]\nbanned = true\n");
    document.push_str(&ce("there", "C", "", "max_pilots = 100"));
    document.push_str(&ce("waits", "A", "", "max_pilots = 100, max_waiting = 2"));
    let world = world(&document).await;
    world.submit(10).await;
    assert_eq!(world.supply(3).await, 10);
    let mut by_ce = std::collections::BTreeMap::new();
    for pilot in world.lifecycle.store.pilots(None, false).await.unwrap() {
        *by_ce.entry(pilot.ce.to_string()).or_insert(0) += 1;
    }
    assert_eq!(by_ce, [("a".to_owned(), 8), ("waits".to_owned(), 2)].into());
    let why = world.why();
    // a, banned, there, waits
    assert_eq!(why[1..3], ["the CE is banned", "site C is banned"]);
    assert_eq!(why[3], "max_waiting is reached");
}

#[tokio::test]
async fn a_pilot_that_its_ce_does_not_know_is_given_up_unless_it_calls() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    world.supply(1).await;
    let unknown = || world.twins.backend.end_all(PilotStatus::Unknown("FROBNICATED".to_owned()));
    unknown();
    world.supply(1).await;
    let pilot = world.first().await;
    assert_eq!((pilot.status, &*pilot.status_reason), (PilotState::Submitted, "FROBNICATED"));
    assert!(pilot.unknown_since.is_some());
    world.twins.backend.end_all(PilotStatus::Running);
    world.supply(1).await;
    assert_eq!(world.first().await.unknown_since, None, "known again");
    unknown();
    world.supply(1).await;
    let claim = world.claim(pilot.stamp.as_str(), "A", 1).await.remove(0);
    world.pass(3700);
    world.beat(pilot.stamp.as_str(), &claim).await;
    world.supply(1).await;
    assert_eq!(world.state(job).await, JobState::Running, "it calls: it is alive");
    world.pass(3700);
    world.supply(1).await;
    let pilot = world.first().await;
    assert_eq!(pilot.status, PilotState::Aborted);
    assert!(pilot.status_reason.ends_with("FROBNICATED"), "{}", pilot.status_reason);
}

#[tokio::test]
async fn what_a_failed_pilot_wrote_is_kept_before_its_ce_forgets_it() {
    let world = world(DOCUMENT).await;
    world.submit(1).await;
    world.supply(1).await;
    let long = "x".repeat(100_000) + "libc is too old\n";
    world.twins.backend.write(&long);
    world.twins.backend.end_all(PilotStatus::Failed("exit 70".to_owned()));
    world.supply(1).await;
    world.pass(601);
    world.lifecycle.clean().await.unwrap();
    world.twins.backend.write("");
    let pilot = world.first().await;
    let read = async |offset, max| {
        let stream = PilotStream::Stdout;
        world.lifecycle.pilot_output(&pilot, stream, offset, max).await.unwrap()
    };
    let kept = read(0, 1_000_000).await;
    assert_eq!(kept.len(), 65_536);
    assert!(kept.ends_with(b"libc is too old\n"));
    assert_eq!(read(65_536 - 4, 3).await, b"old");
}

#[tokio::test]
async fn before_a_downtime_a_ce_gets_only_what_will_have_ended() {
    let world = world(&DOCUMENT.replace("[ces.a]", "[ces.a]\n    host = \"ce.example.org\"")).await;
    let now = world.lifecycle.now();
    let downtime = |start: u64, end: u64| Downtime {
        host: "CE.example.org".to_owned(),
        start: now.plus(Duration::from_secs(start)),
        end: now.plus(Duration::from_secs(end)),
        reason: "new disks".to_owned(),
    };
    world.lifecycle.set_downtimes(vec![downtime(1800, 5400)]);
    let long = world.submit(1).await[0];
    assert_eq!(world.supply(2).await, 0, "an hour does not fit before it");
    let short = world.submit_asking(1, serde_json::json!({"wall_time": 900})).await[0];
    assert_eq!(world.supply(1).await, 1);
    assert_eq!(world.twins.backend.submitted()[0].wall_time, 1800);
    let claimed = world.claim("p1", "A", 2).await;
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [short]);
    let record = world.lifecycle.store.job(long).await.unwrap().unwrap();
    let why = world.lifecycle.explain(&record).await.unwrap().places[0].kept_by.clone().unwrap();
    assert_eq!(why.kind, "downtime");
    assert!(why.reason.ends_with(": new disks"), "{}", why.reason);
    // While it lasts nothing goes there, and all is well when it is over.
    world.pass(1800);
    world.supply(1).await;
    assert!(world.why()[0].starts_with("downtime from"), "{:?}", world.why());
    assert!(world.claim("p2", "A", 2).await.is_empty());
    world.pass(3600);
    assert_eq!(world.claim("p2", "A", 2).await[0].id, long);
}
