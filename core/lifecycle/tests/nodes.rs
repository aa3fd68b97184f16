//! A black hole is told from a bad job, over a real store.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use spinor_model::{id::NodeName, plan::Ending};
use spinor_store::{Claimed, NodeBan};
use world::{DOCUMENT, DONE, World, world};

const FAILED: Ending = Ending::Exited { code: 127 };

impl World {
    /// Pilots, each on its node.
    async fn pilots_on(&self, nodes: &[&str]) -> Vec<String> {
        self.lifecycle.supply().await.unwrap();
        let sent = self.twins.backend.submitted();
        let mut stamps = Vec::new();
        for (request, node) in sent.iter().zip(nodes) {
            let (stamp, node) = (request.stamp.clone(), node.parse().ok());
            self.lifecycle
                .start_pilot(stamp.clone(), &request.secret.0, "start", node)
                .await
                .unwrap();
            stamps.push(stamp.to_string());
        }
        stamps
    }

    async fn run_one(&self, stamp: &str, ending: Ending) -> Option<Claimed> {
        self.pass(4);
        let job = self.claim(stamp, "A", 1).await.pop()?;
        self.finish(stamp, &job, ending).await;
        self.lifecycle.conclude_pending().await.unwrap();
        Some(job)
    }

    fn banned(&self) -> Vec<NodeBan> {
        self.lifecycle.node_bans(&"vo".parse().unwrap())
    }
}

#[tokio::test]
async fn a_node_that_fails_what_runs_elsewhere_gets_no_more_for_an_hour() {
    let world = world(DOCUMENT).await;
    world.submit(20).await;
    let stamps = world.pilots_on(&["good", "hole", "hole"]).await;
    world.run_one(&stamps[0], DONE).await.unwrap();
    for _ in 0..3 {
        assert!(world.banned().is_empty());
        world.run_one(&stamps[1], FAILED).await.unwrap();
    }
    let banned = world.banned();
    assert_eq!(banned[0].node.as_str(), "hole");
    assert!(banned[0].reason.contains("run well elsewhere"), "{}", banned[0].reason);
    for stamp in &stamps[1..] {
        assert!(world.run_one(stamp, DONE).await.is_none(), "any pilot there");
    }
    world.run_one(&stamps[0], DONE).await.unwrap();
    let later = world.lifecycle.now().plus(std::time::Duration::from_secs(3601));
    assert!(world.lifecycle.store.node_bans(later).await.unwrap().is_empty());
    let (vo, ce) = ("vo".parse().unwrap(), "a".parse().unwrap());
    let node: NodeName = "hole".parse().unwrap();
    assert!(world.lifecycle.allow_node(&vo, &ce, &node).await.unwrap());
    assert!(world.banned().is_empty());
    world.run_one(&stamps[1], FAILED).await.unwrap();
    assert!(world.banned().is_empty(), "what was before is forgiven");
    world.run_one(&stamps[1], DONE).await.unwrap();
}

#[tokio::test]
async fn a_job_that_fails_everywhere_bans_no_node() {
    let world = world(DOCUMENT).await;
    world.submit(20).await;
    let stamps = world.pilots_on(&["one", "two"]).await;
    for _ in 0..5 {
        for stamp in &stamps {
            world.run_one(stamp, FAILED).await.unwrap();
        }
    }
    assert!(world.banned().is_empty());
}

#[tokio::test]
async fn a_submission_whose_second_half_is_bad_bans_no_node() {
    let world = world(DOCUMENT).await;
    world.submit(40).await;
    let stamps = world.pilots_on(&["one", "two", "three"]).await;
    for ending in [DONE, DONE, FAILED, FAILED, FAILED, FAILED, FAILED] {
        for stamp in &stamps {
            world.run_one(stamp, ending.clone()).await.unwrap();
        }
    }
    assert!(world.banned().is_empty(), "{:?}", world.banned());
}

#[tokio::test]
async fn the_only_node_is_not_banned_whoever_fails_there() {
    let world = world(DOCUMENT).await;
    let wall = serde_json::json!({"wall_time": 3600});
    world.submit_as("ada", 5, wall.clone()).await;
    world.submit_as("bob", 5, wall).await;
    let stamps = world.pilots_on(&["only"]).await;
    for _ in 0..5 {
        world.run_one(&stamps[0], FAILED).await.unwrap();
    }
    assert!(world.banned().is_empty());
}

#[tokio::test]
async fn a_pilot_that_comes_to_a_banned_node_gets_nothing() {
    let world = world(DOCUMENT).await;
    world.submit(2).await;
    let (vo, ce, node) = ("vo".parse().unwrap(), "a".parse().unwrap(), "wn1".parse().unwrap());
    let (since, until, reason) = (world.lifecycle.now(), None, "fans".to_owned());
    let ban = NodeBan { vo, ce, node, since, until, reason };
    world.lifecycle.ban_node(&ban).await.unwrap();
    let stamps = world.pilots_on(&["wn1", "wn2"]).await;
    assert!(world.run_one(&stamps[0], DONE).await.is_none());
    assert!(world.run_one(&stamps[1], DONE).await.is_some());
}
