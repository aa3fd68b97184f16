//! The server is killed at random moments, again and again; nothing is lost and nothing is doubled.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::Server;

/// Milliseconds in a range, from a seed that a failure prints.
struct Moments(u64);

impl Moments {
    fn next(&mut self, from: u64, to: u64) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(from + (self.0 >> 33) % (to - from))
    }
}

#[test]
fn ten_kills_lose_nothing_and_double_nothing() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut moments = Moments(seed);
    let mut server = Server::with_lab();
    let long = server
        .submit(
            r#"{"name": "long", "executable": "sh", "output_sandbox": ["out"], "priority": 10,
                "arguments": ["-c", "sleep 14; echo $SPINOR_ATTEMPT > out"],
                "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#,
        )
        .unwrap()[0];
    server.until_status(long, "Running");
    let scan = server
        .submit(
            r#"{"name": "scan %n", "executable": "sh", "output_sandbox": ["out"],
                "arguments": ["-c", "sleep 0.0%(pause)s; echo %(seed)s > out"],
                "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}},
                "parameters": {"seed": {"count": 250},
                               "pause": {"start": 10, "step": 0, "count": 250}}}"#,
        )
        .unwrap();
    for round in 0..10 {
        sleep(moments.next(100, 1200));
        server.kill();
        println!("killed {round}");
        sleep(moments.next(10, 400));
        server.up();
    }
    let jobs: Vec<i64> = [&[long], &scan[..]].concat();
    let token = server.member("lab_user", "ada");
    let done = || {
        let counts = server.json(&token, &["job", "list", "--summary"]);
        counts.as_array().unwrap().iter().any(|c| c["status"] == "Done" && c["count"] == jobs.len())
    };
    server.until(&format!("not all were done (seed {seed})"), done);

    // A payload that ran all the time keeps its result: its first attempt's.
    let record = server.job(long);
    assert_eq!(record["job"]["attempt"], 1, "{record}");
    server.run(&token, &["job", "output", &long.to_string()]);
    let output = server.scratch().join(format!("job-{long}/out"));
    assert_eq!(std::fs::read_to_string(output).unwrap(), "1\n");

    // Each job's result was counted once: no job ran twice, none was judged twice.
    for id in &scan {
        let record = server.job(*id);
        let events = record["events"].as_array().unwrap();
        let times = |status: &str| events.iter().filter(|e| e["status"] == status).count();
        assert_eq!((times("Matched"), times("Done")), (1, 1), "seed {seed}: {record:#}");
    }

    // Each usage record is in the sink once, by its id.
    server.until("usage is missing", || server.usage_lines().len() >= jobs.len());
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for line in server.usage_lines() {
        *seen.entry(line["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "seed {seed}: {seen:?}");
    let expected: BTreeSet<String> = jobs.iter().map(|id| format!("{id}.1")).collect();
    assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), expected, "seed {seed}");
}
