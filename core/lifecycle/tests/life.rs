//! A job's life over a real store, with native twins for plugins and a clock that the test moves.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use spinor_identity::subject::PilotIdentity;
use spinor_lifecycle::{
    admission::{Beside, Refusal, Request},
    matching::Owners,
};
use spinor_model::{
    id::{AttemptNumber, Digest},
    offer::Offer,
    plan::Ending,
    policy::Decider,
    registry::VoDocument,
    state::{JobState, PilotState},
    usage::Ack,
};
use spinor_store::{BeatAnswer, Claimed, NewPilot, ResultAnswer};
use spinor_twins::TwinRule;
use std::sync::Arc;
use world::{DOCUMENT, DONE, pilot, result, slot, world};

#[tokio::test]
async fn a_job_is_submitted_claimed_run_judged_and_booked() {
    let world = world(DOCUMENT).await;
    let jobs = world.submit(3).await;
    let claimed = world.claim("p1", "A", 2).await;
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), jobs[..2]);
    assert_eq!(claimed[1].parameters["n"], "1");
    assert_eq!(world.state(jobs[0]).await, JobState::Matched);
    assert_eq!(world.beat("p1", &claimed[0]).await, BeatAnswer::Continue);
    assert_eq!(world.state(jobs[0]).await, JobState::Running);
    assert_eq!(world.finish("p1", &claimed[0], DONE).await, ResultAnswer::Accepted);
    assert_eq!(world.finish("p1", &claimed[0], DONE).await, ResultAnswer::Repeated);
    assert_eq!(world.state(jobs[0]).await, JobState::Completing);
    assert_eq!(world.lifecycle.conclude_pending().await.unwrap(), 1);
    assert_eq!(world.state(jobs[0]).await, JobState::Done);
    assert_eq!(world.lifecycle.deliver_usage().await.unwrap(), 1);
    assert_eq!(world.lifecycle.deliver_usage().await.unwrap(), 0);
    assert_eq!(world.twins.sink.batches(), [[1]]);
}

#[tokio::test]
async fn a_pilot_whose_life_is_over_gets_no_jobs_and_still_brings_its_results() {
    let world = world(DOCUMENT).await;
    world.submit(3).await;
    let [one, other] = ["p1", "p2"].map(|stamp| pilot(stamp, "A"));
    let new = |pilot: &PilotIdentity| NewPilot {
        stamp: pilot.stamp.clone(),
        vo: pilot.vo.clone(),
        site: pilot.site.clone(),
        ce: pilot.ce.clone(),
        queue: pilot.queue.clone(),
        cores: 1,
        wall_time: 60,
        secret_hash: Digest::of(b"secret"),
        sent_by: Decider {
            plugin: "test".to_owned(),
            version: "0.1.0".parse().unwrap(),
            digest: Digest::of(b""),
            settings: Digest::of(b""),
        },
    };
    let (store, now) = (&world.lifecycle.store, world.lifecycle.now());
    store.add_pilots(&[new(&one), new(&other)], now).await.unwrap();
    let held = world.claim("p1", "A", 1).await.remove(0);
    store.set_pilot_state(&one.stamp, PilotState::Aborted, "killed", now).await.unwrap();
    assert_eq!(world.finish("p1", &held, DONE).await, ResultAnswer::Accepted);
    assert!(world.claim("p1", "A", 1).await.is_empty());
    assert_eq!(world.claim("p2", "A", 1).await.len(), 1);
}

#[tokio::test]
async fn a_heartbeat_is_seen_in_searches() {
    let world = world(DOCUMENT).await;
    world.submit(2).await;
    let claimed = world.claim("p1", "A", 1).await.remove(0);
    world.pass(5);
    world.beat("p1", &claimed).await;
    let values = world.columns(&["HeartBeatTime", "ApplicationStatus"]).await;
    let heard = world.lifecycle.now().0.to_string();
    assert_eq!(values, [[heard.as_str(), "\"Unknown\""], ["null", "\"Unknown\""]]);
}

#[tokio::test]
async fn names_of_groups_and_files_have_parameters_put_in() {
    let world = world(DOCUMENT).await;
    let request = Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": 2, "requirement": {"wall_time": 60}}),
        times: vec![None],
        number: None,
        beside: Beside {
            job_group: Some("run_%(n)s".to_owned()),
            input_data: vec!["/vo/file_%(n)s".to_owned(), "/vo/100%%".to_owned()],
            ..Beside::default()
        },
    };
    let jobs = world.lifecycle.submit(request).await.unwrap();
    let (_, files) = world.lifecycle.store.source(jobs[1]).await.unwrap().unwrap();
    assert_eq!(files, ["/vo/file_1", "/vo/100%"]);
    assert_eq!(world.columns(&["JobGroup"]).await, [["\"run_0\""], ["\"run_1\""]]);
}

#[tokio::test]
async fn a_stalled_attempt_revives_and_a_lost_one_is_fenced_off() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    let first = world.claim("p1", "A", 1).await.remove(0);
    world.beat("p1", &first).await;
    world.pass(61);
    world.lifecycle.watch().await.unwrap();
    assert_eq!(world.state(job).await, JobState::Stalled);
    assert_eq!(world.beat("p1", &first).await, BeatAnswer::Continue);
    assert_eq!(world.state(job).await, JobState::Running, "the same attempt goes on");
    world.pass(61);
    world.lifecycle.watch().await.unwrap();
    world.pass(601);
    world.lifecycle.watch().await.unwrap();
    world.lifecycle.conclude_pending().await.unwrap();
    assert_eq!(world.state(job).await, JobState::Waiting, "given up, and tried again");
    let second = world.claim("p2", "A", 1).await.remove(0);
    assert_eq!(second.attempt, AttemptNumber(2));
    // The first attempt's pilot comes back: nothing of it touches the second.
    assert_eq!(world.beat("p1", &first).await, BeatAnswer::Kill);
    let late = world.finish("p1", &first, DONE).await;
    assert!(matches!(late, ResultAnswer::Refused(_)), "{late:?}");
    assert_eq!(world.state(job).await, JobState::Matched);
    assert_eq!(world.finish("p2", &second, DONE).await, ResultAnswer::Accepted);
    world.lifecycle.conclude_pending().await.unwrap();
    assert_eq!(world.state(job).await, JobState::Done);
    assert_eq!(world.lifecycle.store.usage(&"vo".parse().unwrap()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_result_needs_the_right_pilot_and_nonce() {
    let world = world(DOCUMENT).await;
    world.submit(1).await;
    let job = world.claim("p1", "A", 1).await.remove(0);
    let refused = |answer: ResultAnswer, why: &str| match answer {
        ResultAnswer::Refused(text) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?}"),
    };
    refused(world.finish("p2", &job, DONE).await, "belongs to another pilot");
    let forged = Claimed { nonce: "guess".to_owned(), ..job.clone() };
    refused(world.finish("p1", &forged, DONE).await, "nonce");
    let future = Claimed { attempt: AttemptNumber(7), ..job.clone() };
    refused(world.finish("p1", &future, DONE).await, "never such an attempt");
    assert_eq!(world.finish("p1", &job, DONE).await, ResultAnswer::Accepted);
}

#[tokio::test]
async fn retries_end_at_the_limit_and_avoid_the_site() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    let first = world.claim("p1", "A", 1).await.remove(0);
    world.finish("p1", &first, Ending::Exited { code: 75 }).await;
    world.lifecycle.conclude_pending().await.unwrap();
    assert!(world.claim("p1", "A", 1).await.is_empty(), "not at the site it should avoid");
    let second = world.claim("p2", "B", 1).await.remove(0);
    let answer = world
        .lifecycle
        .finish(&pilot("p2", "B"), &result(&second, Ending::Exited { code: 75 }))
        .await
        .unwrap();
    assert_eq!(answer, ResultAnswer::Accepted);
    world.lifecycle.conclude_pending().await.unwrap();
    let record = world.lifecycle.store.job(job).await.unwrap().unwrap();
    assert_eq!(record.status, JobState::Failed);
    assert_eq!(record.minor_status, "exit code 75 (after 2 attempts)");
    let numbers: Vec<u32> =
        world.twins.handler.judged.lock().unwrap().iter().map(|a| a.number.0).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again() {
    let world = world(DOCUMENT).await;
    world.submit(3).await;
    let first = world.claim("p1", "A", 2).await;
    assert_eq!(first.len(), 2);
    assert_eq!(world.claim("p1", "A", 2).await, first, "the same jobs, attempts and nonces");
    let holds: Vec<_> = first.iter().map(|job| (job.id, job.attempt)).collect();
    let next =
        world.lifecycle.match_slot(&pilot("p1", "A"), slot("A", 1), Owners::One, &holds).await;
    assert_eq!(next.unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_is_repeated_unchanged_before_any_later_one() {
    let world = world(DOCUMENT).await;
    world.submit(3).await;
    let end = async |stamp: &str| {
        let job = world.claim(stamp, "A", 1).await.remove(0);
        world.finish(stamp, &job, DONE).await;
        world.lifecycle.conclude_pending().await.unwrap();
    };
    end("p1").await;
    world.twins.sink.answer(Some(Ack::Later("full".to_owned())));
    world.lifecycle.deliver_usage().await.unwrap();
    end("p2").await;
    world.lifecycle.deliver_usage().await.unwrap();
    let status = world.lifecycle.store.sink_status().await.unwrap().remove(0);
    assert_eq!((status.waiting, status.problem.as_deref()), (2, Some("full")));
    world.twins.sink.answer(None);
    while world.lifecycle.deliver_usage().await.unwrap() > 0 {}
    assert_eq!(world.twins.sink.batches(), [vec![1], vec![1], vec![1], vec![2]]);
    end("p3").await;
    world.twins.sink.answer(Some(Ack::Refused("never".to_owned())));
    assert_eq!(world.lifecycle.deliver_usage().await.unwrap(), 1, "set aside, not stuck");
}

#[tokio::test]
async fn the_limit_of_running_jobs_is_not_overshot() {
    let document = DOCUMENT.replace("max_attempts = 2", "max_attempts = 2\nmax_running = 3");
    let world = world(&document).await;
    world.submit(10).await;
    let counts = tokio::join!(
        world.claim("p1", "A", 2),
        world.claim("p2", "A", 2),
        world.claim("p3", "A", 2)
    );
    assert_eq!(counts.0.len() + counts.1.len() + counts.2.len(), 3);
}

#[tokio::test]
async fn a_broken_or_unwilling_rule_holds_jobs_and_says_so() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    let explain = async || {
        let record = world.lifecycle.store.job(job).await.unwrap().unwrap();
        world.lifecycle.explain(&record).await.unwrap()
    };
    world.twins.set_rule(Some(TwinRule { breaks: true, ..TwinRule::version("0.2.0") }));
    let broken = world.lifecycle.match_slot(&pilot("p", "A"), slot("A", 1), Owners::One, &[]).await;
    assert!(broken.is_err());
    assert!(explain().await.summary.contains("held: matching/twin 0.2.0 trapped: on purpose"));
    let avoid = vec!["A".to_owned()];
    world.twins.set_rule(Some(TwinRule { avoid, ..TwinRule::version("0.3.0") }));
    assert!(world.claim("p", "A", 1).await.is_empty());
    let why = explain().await;
    let obstacle = why.places[0].kept_by.clone().unwrap();
    assert_eq!((&*obstacle.kind, &*obstacle.reason), ("rule", "avoids A"));
    world.twins.set_rule(Some(TwinRule::version("0.4.0")));
    assert_eq!(world.claim("p", "A", 1).await.len(), 1);
}

#[tokio::test]
async fn a_big_scan_comes_in_whole_and_once() {
    let world = world(DOCUMENT).await;
    let request = Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": 10_000}),
        times: vec![Some("once".to_owned())],
        number: None,
        beside: Default::default(),
    };
    let jobs = world.lifecycle.submit(request.clone()).await.unwrap();
    assert_eq!(jobs.len(), 10_000);
    assert_eq!(world.lifecycle.submit(request).await.unwrap(), jobs, "the same submission");
    let last = world.lifecycle.store.job(jobs[9_999]).await.unwrap().unwrap();
    assert_eq!(last.name, "twin 9999");
}

#[tokio::test]
async fn leases_stand_still_while_no_server_is_up() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    world.claim("p1", "A", 1).await;
    world.pass(10_000);
    world.lifecycle.wake_up().await.unwrap();
    world.lifecycle.watch().await.unwrap();
    assert_eq!(world.state(job).await, JobState::Matched);
}

#[tokio::test]
async fn avoiding_a_site_never_widens_what_the_owner_asked() {
    let world = world(DOCUMENT).await;
    world.submit_asking(1, serde_json::json!({"wall_time": 60, "sites": ["A"]})).await;
    let first = world.claim("p1", "A", 1).await.remove(0);
    world.finish("p1", &first, Ending::Exited { code: 75 }).await;
    world.lifecycle.conclude_pending().await.unwrap();
    assert!(world.claim("p2", "B", 1).await.is_empty(), "the owner named A alone");
    assert_eq!(world.claim("p3", "A", 1).await.len(), 1);
}

#[tokio::test]
async fn a_killed_job_is_booked_even_if_its_handler_is_gone() {
    let world = world(DOCUMENT).await;
    let job = world.submit(1).await[0];
    let claim = world.claim("p1", "A", 1).await.remove(0);
    world.finish("p1", &claim, DONE).await;
    let store = &world.lifecycle.store;
    store.hold(job, claim.attempt, "no handler", world.lifecycle.now()).await.unwrap();
    let vo = "vo".parse().unwrap();
    store.kill(&vo, None, &[job], "ada", world.lifecycle.now()).await.unwrap();
    store.hold(job, claim.attempt, "no handler", world.lifecycle.now()).await.unwrap();
    let record = store.job(job).await.unwrap().unwrap();
    assert_eq!(record.minor_status, "Marked for termination", "what ended is not held");
    assert_eq!(world.lifecycle.conclude_pending().await.unwrap(), 1);
    assert_eq!(store.usage(&vo).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_of_unlike_submissions_gives_each_its_own_jobs_once() {
    let world = world(DOCUMENT).await;
    let request = |key: &str, jobs: u32, wall_time: u64, job_group: &str| Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": jobs, "requirement": {"wall_time": wall_time}}),
        times: vec![Some(key.to_owned())],
        number: None,
        beside: Beside { job_group: Some(job_group.to_owned()), ..Beside::default() },
    };
    // Alike and not, turn about: what is stored together must come back apart.
    let asked = [
        request("r/0", 2, 3600, "red"),
        request("r/1", 3, 1800, "red"),
        request("r/2", 2, 3600, "blue"),
        request("r/3", 1, 3600, "red"),
        request("r/4", 2, 3600, "red"),
    ];
    let taken = world.lifecycle.submit_all(asked[..4].to_vec()).await.unwrap();
    let taken: Vec<_> = taken.into_iter().map(|times| times.concat()).collect();
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 2, 1]);
    for (request, jobs) in asked.iter().zip(&taken) {
        for (row, id) in jobs.iter().enumerate() {
            let job = world.lifecycle.store.job(*id).await.unwrap().unwrap();
            let class = world.lifecycle.store.class_of(*id).await.unwrap().unwrap();
            assert_eq!(job.name, format!("twin {row}"));
            assert_eq!(
                request.description["requirement"]["wall_time"],
                class.requirement.wall_time
            );
            assert_eq!(world.lifecycle.store.events(*id).await.unwrap().len(), 2);
        }
    }
    // A batch that begins with what is there already goes on with what is not.
    let again = world.lifecycle.submit_all(asked.to_vec()).await.unwrap();
    let again: Vec<_> = again.into_iter().map(|times| times.concat()).collect();
    assert_eq!(again[..4], taken);
    assert_eq!(again[4].len(), 2);
    let waiting: u64 =
        world.lifecycle.store.queues().await.unwrap().iter().map(|(_, jobs)| jobs).sum();
    assert_eq!(waiting, 10);
}

#[tokio::test]
async fn a_submission_that_is_asked_for_several_times_has_jobs_for_each() {
    let world = world(DOCUMENT).await;
    let request = |keys: &[&str], jobs: u32| Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": jobs, "requirement": {"wall_time": 60}}),
        times: keys.iter().map(|key| Some((*key).to_owned())).collect(),
        number: None,
        beside: Beside::default(),
    };
    let asked = [request(&["r/0", "r/1", "r/3"], 2), request(&["r/2"], 1)];
    let taken = world.lifecycle.submit_all(asked.to_vec()).await.unwrap();
    assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
    let mut templates = Vec::new();
    for jobs in &taken[0] {
        assert_eq!(jobs.len(), 2);
        for (row, id) in jobs.iter().enumerate() {
            let job = world.lifecycle.store.job(*id).await.unwrap().unwrap();
            assert_eq!(job.name, format!("twin {row}"));
            templates.push(job.template);
        }
    }
    templates.dedup();
    assert_eq!(templates.len(), 1);
    // All of it again, its beginning alone, and more of it.
    assert_eq!(world.lifecycle.submit_all(asked.to_vec()).await.unwrap(), taken);
    let again = world.lifecycle.submit_all(vec![request(&["r/0"], 2)]).await.unwrap();
    assert_eq!(again[0], taken[0][..1]);
    let more = [request(&["r/0", "r/1", "r/3", "r/4"], 2)];
    let first = world.lifecycle.submit_all(more.to_vec()).await.unwrap();
    assert_eq!((first[0].len(), &first[0][..3]), (4, &taken[0][..]));
    assert_eq!(world.lifecycle.submit_all(more.to_vec()).await.unwrap(), first);
    // A key is a submission, whatever comes with it.
    let again = world.lifecycle.submit_all(vec![request(&["r/0"], 5)]).await.unwrap();
    assert_eq!(again[0], taken[0][..1]);
    let mixed = [request(&["r/2", "r/4", "r/5"], 1)];
    let mixed = world.lifecycle.submit_all(mixed.to_vec()).await.unwrap().remove(0);
    assert_eq!(mixed[..2], [taken[1][0].clone(), first[0][3].clone()]);
    let queues = world.lifecycle.store.queues().await.unwrap();
    assert_eq!(queues.iter().map(|(_, jobs)| jobs).sum::<u64>(), 6 + 1 + 2 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_at_the_same_moment_are_each_taken_or_refused_alone() {
    let limited = DOCUMENT.replace("[limits]", "[limits]\n    max_waiting = 20");
    let world = world(&limited).await;
    let request = |key: String| Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": 1, "requirement": {"wall_time": 3600}}),
        times: vec![Some(key)],
        number: None,
        beside: Beside::default(),
    };
    // Fifteen, each sent twice at once.
    let sent = (0..30).map(|i| world.lifecycle.submit(request(format!("k{}", i / 2))));
    let taken: Vec<_> = futures::future::join_all(sent).await.into_iter().collect();
    let taken: Vec<_> = taken.into_iter().map(Result::unwrap).collect();
    for pair in taken.chunks(2) {
        assert_eq!((pair[0].len(), &pair[0]), (1, &pair[1]), "the same submission");
    }
    let mut ids: Vec<_> = taken.concat();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 15);
    // Ten more, and there is room for five.
    let more = (0..10).map(|i| world.lifecycle.submit(request(format!("m{i}"))));
    let more = futures::future::join_all(more).await;
    assert_eq!(more.iter().filter(|answer| answer.is_ok()).count(), 5);
    assert!(more.iter().any(|answer| matches!(answer, Err(Refusal::OverQuota { limit: 20, .. }))));
    let queues = world.lifecycle.store.queues().await.unwrap();
    assert_eq!(queues.iter().map(|(_, waiting)| waiting).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_large_limit_of_waiting_jobs_holds_without_a_count() {
    let limits = "[limits]\n max_waiting = 100000\n max_jobs_per_submission = 100000";
    let world = world(&DOCUMENT.replace("[limits]", limits)).await;
    let request = |jobs: u32, key: &str| Request {
        vo: "vo".parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": jobs, "requirement": {"wall_time": 3600}}),
        times: vec![Some(key.to_owned())],
        number: None,
        beside: Beside::default(),
    };
    let all = world.lifecycle.submit(request(99_999, "all")).await.unwrap();
    world.lifecycle.submit(request(1, "last")).await.unwrap();
    let more = world.lifecycle.submit(request(1, "more")).await;
    assert!(matches!(more, Err(Refusal::OverQuota { waiting: 100_000, .. })), "{more:?}");
    assert_eq!(world.lifecycle.submit(request(99_999, "all")).await.unwrap(), all, "sent again");
    world.claim("p1", "A", 1).await;
    world.lifecycle.submit(request(1, "more")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vo_that_is_full_does_not_have_anothers_jobs_stored_twice() {
    let world = world(DOCUMENT).await;
    let full =
        DOCUMENT.replace("\"vo\"", "\"full\"").replace("[limits]", "[limits]\n max_waiting = 0");
    world.lifecycle.set_document(Arc::new(VoDocument::from_toml(&full).unwrap()));
    let request = |i: usize| Request {
        vo: if i.is_multiple_of(2) { "vo" } else { "full" }.parse().unwrap(),
        group: "g".parse().unwrap(),
        owner: "ada".parse().unwrap(),
        description: serde_json::json!({"jobs": 1, "requirement": {"wall_time": 3600}}),
        times: vec![None],
        number: None,
        beside: Beside::default(),
    };
    let sent = (0..40).map(|i| world.lifecycle.submit(request(i)));
    let taken = futures::future::join_all(sent).await;
    assert_eq!(taken.iter().filter(|answer| answer.is_ok()).count(), 20);
    let queues = world.lifecycle.store.queues().await.unwrap();
    assert_eq!(queues.iter().map(|(_, waiting)| waiting).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_slot_has_one_owners_jobs_unless_it_keeps_them_apart() {
    let world = world(DOCUMENT).await;
    let asked = serde_json::json!({"wall_time": 3600});
    for (owner, jobs) in [("ada", 1), ("grace", 3)] {
        world.submit_as(owner, jobs, asked.clone()).await;
    }
    let owners = async |stamp: &str, owners: Owners| {
        let (pilot, slot) = (pilot(stamp, "A"), slot("A", 2));
        let got = world.lifecycle.match_slot(&pilot, slot, owners, &[]).await.unwrap();
        got.into_iter().map(|job| job.owner.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let mixed = owners("p1", Owners::Any).await;
    assert_eq!(mixed.into_iter().collect::<Vec<_>>(), ["ada", "grace"]);
    world.submit_as("ada", 1, asked.clone()).await;
    assert_eq!(owners("p2", Owners::One).await.len(), 1);
    let nobody = Owners::Only("nobody".parse().unwrap());
    assert!(owners("p3", nobody).await.is_empty());
}

#[tokio::test]
async fn what_a_slot_has_is_given_once() {
    let world = world(DOCUMENT).await;
    let asked = serde_json::json!({
        "wall_time": 3600, "gpu": {"count": 1}, "io": {"scratch_mb": 1024},
    });
    for owner in ["ada", "grace"] {
        world.submit_as(owner, 4, asked.clone()).await;
    }
    let got = async |stamp: &str, gpus: u32, scratch_mb: u64| {
        let slot = Offer { gpus, scratch_mb, ..slot("A", 8) };
        let pilot = pilot(stamp, "A");
        world.lifecycle.match_slot(&pilot, slot, Owners::Any, &[]).await.unwrap().len()
    };
    assert_eq!(got("p1", 3, 10 << 10).await, 3);
    assert_eq!(got("p2", 8, 2 << 10).await, 2);
    assert_eq!(got("p3", 0, 10 << 10).await, 0);
}
