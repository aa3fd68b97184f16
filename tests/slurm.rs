//! A real Slurm cluster, reached in four ways: by its command line, by slurmrestd, and by SSH, on to the
//! cluster or to the bare machine. Each passes the conformance kit; then a campaign runs on three of them.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/kit.rs"]
mod kit;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/real.rs"]
mod real;
mod support;

use kit::Kit;
use real::Slurm;
use spinor_model::policy::ComputingBackend;
use std::{io::Read, path::Path, sync::Arc};
use support::Server;

const STRANGER: &str = "4000000:00000000000000000000000000000000";

async fn bound(data: &Path, table: &str) -> Arc<dyn ComputingBackend> {
    let table = table.replace("[ces.cluster", "[ces.ce").replace("queues.short", "queues.long");
    let (_, backend) = table.split_once("[ces.ce.backend]").unwrap();
    plugins::backend(&plugins::host(data).await, &format!("[ces.ce.backend]{backend}")).await
}

async fn conforms(slurm: &Slurm, example: &str, change: impl FnOnce(&mut Kit)) {
    let data = tempfile::tempdir().unwrap();
    slurm.put_secrets(&data.path().join("secrets/vo"));
    let probe = slurm.shared().join("probe");
    kit::put_probe(&probe);
    let directory = slurm.shared().display().to_string();
    let own = format!("directory = \"{directory}\"");
    let with_probe = format!("{own}, worker.program = \"{}\"", probe.display());
    let table = slurm.table(example);
    // Only the plugin's settings have a worker, in whichever form they are written.
    let table = match example {
        "slurm" => table.replacen(&own, &with_probe.replace(", ", "\n"), 1),
        _ => table.replacen(&own, &with_probe, 1),
    };
    let mut kit = Kit {
        backend: bound(data.path(), &table).await,
        queue: "short",
        no_queue: Some("nowhere"),
        carries_files: true,
        gives_outputs: true,
        stranger: STRANGER,
    };
    change(&mut kit);
    kit.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_slurm_conforms_and_a_campaign_runs_on_three_at_once() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    conforms(&slurm, "slurm", |_| {}).await;
    conforms(&slurm, "slurm-rest", |kit| {
        (kit.gives_outputs, kit.carries_files) = (false, false);
    })
    .await;
    conforms(&slurm, "ssh-slurm", |_| {}).await;
    conforms(&slurm, "ssh-host", |kit| {
        (kit.no_queue, kit.stranger) = (None, "00000000000000000000000000000000");
    })
    .await;
    tokio::task::block_in_place(|| campaign(&slurm));
}

/// Ten jobs and three CEs that could each take them all.
fn campaign(slurm: &Slurm) {
    let server = Server::start();
    slurm.put_secrets(&server.data().join("secrets/lab"));
    let ces = ["slurm", "slurm-rest", "ssh-slurm"]
        .map(|example| slurm.table(example).replace("cluster", &format!("by-{example}")));
    let document = support::lab_with("", &ces.join("\n"));
    server.apply(&document.replace("by-ssh-slurm-key", "cluster-key")).unwrap();
    server.file("count.sh", "echo counted $1; sleep 1\n");
    let description = r#"{"executable": "sh", "arguments": ["count.sh", "{i}"],
        "input_sandbox": ["count.sh"], "stdout": "out", "output_sandbox": ["out"],
        "requirements": {"wall_time": 600}, "parameters": {"i": {"start": 0, "step": 1, "count": 10}}}"#;
    let jobs = server.submit(description).unwrap();
    assert_eq!(jobs.len(), 10);
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    let pilots = server.pilots();
    let used: std::collections::BTreeSet<_> =
        pilots.iter().map(|pilot| pilot["ce"].as_str().unwrap()).collect();
    assert!((8..=12).contains(&pilots.len()), "{pilots:#?}");
    assert_eq!(used.len(), 3, "{used:?}");
}

/// Two GPUs of a pilot's go to two jobs, and a third that asks for none sees none.
#[test]
fn a_pilot_asks_for_gpus_and_gives_each_job_its_own() {
    if support::seen_on_sqlite() {
        return;
    }
    for example in ["slurm", "slurm-rest"] {
        let slurm = Slurm::up();
        let server = Server::start();
        slurm.put_secrets(&server.data().join("secrets/lab"));
        let table = slurm.table(example).replace("{ cores = 1,", "{ cores = 2, gpus = 2,");
        assert!(table.contains("gpus"), "{table}");
        server.apply(&support::lab_with("", &table)).unwrap();
        assert_eq!(server.gpus_of_jobs(), ["1 0\n", "1 1\n", "0 -1\n"], "{example}");
    }
}

/// Ten thousand jobs come at once, and go: pilots fill the queue within two rounds, and then no more are sent.
#[test]
fn supply_follows_a_burst_on_a_real_cluster_and_stops_with_it() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    let server = server_with(&slurm, "slurm");
    let began = std::time::Instant::now();
    let jobs = sleepers(&server, 2, 10_000);
    let submitted = began.elapsed();
    server.until("its queue is not filled", || server.pilots().len() == 100);
    println!("10,000 jobs in {submitted:?}, 100 pilots {:?} later", began.elapsed() - submitted);
    let now = "2026-01-01T00:00:00Z";
    let gone = |job: &i64| (job.to_string(), serde_json::json!({now: {"Status": "Killed"}}));
    let member = server.member("lab_user", "ada");
    for some in jobs.chunks(5_000) {
        let gone: serde_json::Map<String, _> = some.iter().map(gone).collect();
        let gone = serde_json::Value::from(gone).to_string();
        let (status, told) = server.request("PATCH", "/api/jobs/status", Some(&member), &gone);
        assert_eq!(status, 200, "{told}");
    }
    server.until("the last one is not killed", || server.status(jobs[9_999]) == "Killed");
    // Those that run look in vain and end, and in more than twenty rounds none is sent in their place.
    server.until("no pilot has ended", || {
        server.pilots().iter().any(|pilot| !pilot["ended"].is_null())
    });
    let sent = server.pilots().len();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(server.pilots().len(), sent);
}

/// A server with one CE, and the file of its table.
fn server_with(slurm: &Slurm, example: &str) -> Server {
    let server = Server::start();
    slurm.put_secrets(&server.data().join("secrets/lab"));
    server.apply(&support::lab_with("", &slurm.table(example))).unwrap();
    server
}

fn sleepers(server: &Server, seconds: u32, count: u32) -> Vec<i64> {
    let description = format!(
        r#"{{"executable": "sleep", "arguments": ["{seconds}"], "requirements": {{"wall_time": 600}},
            "parameters": {{"i": {{"start": 0, "step": 1, "count": {count}}}}}}}"#
    );
    server.submit(&description).unwrap()
}

/// The pilots' network is cut off, and each has two cores: what they ask and bring goes by files.
#[test]
fn without_a_network_a_campaign_ends_and_its_outputs_are_back() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    let server = Server::start();
    slurm.put_secrets(&server.data().join("secrets/lab"));
    let push = |table: &str| table.replace("[ces.cluster]", "[ces.cluster]\npush = true");
    let why = server.apply(&support::lab_with("", &push(&slurm.table("slurm-rest")))).unwrap_err();
    assert!(why.contains("ces.cluster.push") && why.contains("carries no files"), "{why}");
    let cut = r#"worker.preamble = '[ "$CUT" ] || CUT=1 exec unshare --net sh "$0"'"#;
    let settings = "[ces.cluster.backend.settings]\n";
    let table = push(&slurm.table("slurm"))
        .replace(settings, &format!("{settings}{cut}\n"))
        .replace("cores = 1, memory_mb = 2000", "cores = 2, memory_mb = 4000")
        .replace("max_pilots = 100", "max_pilots = 2");
    server.apply(&support::lab_with("", &table)).unwrap();
    // More than goes in one piece, and nothing that could be made smaller.
    let mut data = vec![0; 700_000];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut data).unwrap();
    std::fs::write(server.scratch().join("input"), &data).unwrap();
    let description = r#"{"executable": "sh", "arguments": ["-c",
            "test $(grep -c : /proc/net/dev) = 1 && cp input result && echo $0 >> result", "%(i)s"],
        "input_sandbox": ["input"], "output_sandbox": ["result"], "requirements": {"wall_time": 600},
        "parameters": {"i": {"start": 0, "step": 1, "count": 8}}}"#;
    let jobs = server.submit(description).unwrap();
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    assert!(server.pilots().len() <= 4, "{:#?}", server.pilots());
    let last = jobs[7].to_string();
    let fetched = server.run(&server.member("lab_user", "ada"), &["job", "output", &last]);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let result = server.scratch().join(format!("job-{last}/result"));
    assert!(std::fs::read(result).unwrap() == [&data[..], b"7\n"].concat());
    server.until("pilots stay behind", || server.pilots().iter().all(|p| p["ended"].is_string()));
    // Each takes its own away, last of all the answer to its goodbye.
    server.until("files stay behind", || {
        let names = std::fs::read_dir(slurm.shared()).unwrap();
        names.flatten().all(|file| !file.file_name().to_string_lossy().contains(".re"))
    });
}

/// Seconds for which the cluster's controller is away; SPINOR_TEST_CUT says how many.
fn cut() -> std::time::Duration {
    let seconds = std::env::var("SPINOR_TEST_CUT").ok().and_then(|text| text.parse().ok());
    std::time::Duration::from_secs(seconds.unwrap_or(3))
}

#[test]
fn a_controller_that_dies_amid_submissions_loses_and_doubles_no_pilot() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    let server = server_with(&slurm, "slurm");
    let jobs = sleepers(&server, 1, 40);
    server.until("no pilot was sent", || !server.pilots().is_empty());
    slurm.tell("stop");
    std::thread::sleep(cut());
    let told = server.json(&server.operator(), &["ce", "list", "--vo", "lab"]);
    println!("while it was away: {}", told[0]["why"]);
    slurm.tell("start");
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    server.until("pilots stay behind", || server.pilots().iter().all(|p| p["ended"].is_string()));
    let names = slurm.names_of_ended();
    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(names.len(), unique.len(), "a pilot was submitted twice");
    let known = server.pilots();
    for name in &names {
        let stamp = name.strip_prefix("spinor-").unwrap();
        assert!(known.iter().any(|pilot| pilot["stamp"] == stamp), "nobody knows {name}");
    }
}

#[test]
fn a_node_that_is_lost_and_a_job_that_is_held_cost_no_job_and_are_told() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    let server = server_with(&slurm, "slurm");
    let job = sleepers(&server, 4, 1)[0];
    server.until_status(job, "Running");
    slurm.tell("lose");
    let lost =
        |pilot: &serde_json::Value| pilot["status_reason"].as_str().unwrap().contains("NODE_FAIL");
    server.until("a lost node is not told", || server.pilots().iter().any(lost));
    slurm.tell("start");
    server.until_status(job, "Done");
    // Nothing runs, so the next pilot waits; it is held, and given up for another.
    server.until("pilots stay behind", || server.pilots().iter().all(|p| p["ended"].is_string()));
    slurm.run("scontrol", &["update", "partitionname=short", "state=down"]);
    let job = sleepers(&server, 1, 1)[0];
    let waiting = || server.pilots().into_iter().find(|pilot| pilot["status"] == "Waiting");
    server.until("no pilot waits", || waiting().is_some());
    let reference = waiting().unwrap()["reference"].as_str().unwrap().to_owned();
    slurm.run("scontrol", &["hold", reference.split(':').next().unwrap()]);
    let held =
        |pilot: &serde_json::Value| pilot["status_reason"].as_str().unwrap().contains("JobHeld");
    server.until("a held pilot is not told", || server.pilots().iter().any(held));
    slurm.run("scontrol", &["update", "partitionname=short", "state=up"]);
    server.until_status(job, "Done");
}

#[test]
fn a_token_that_runs_out_is_told_and_a_new_one_is_taken_up() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up();
    let server = server_with(&slurm, "slurm-rest");
    let token = server.data().join("secrets/lab/slurm-token");
    std::fs::write(&token, slurm.token(1)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let job = sleepers(&server, 0, 1)[0];
    server.until("nobody is told of the token", || {
        let told = server.json(&server.operator(), &["ce", "list", "--vo", "lab"]);
        told[0]["why"].as_str().unwrap().contains("is the token good")
    });
    let operator = server.operator();
    let tried = server.run(&operator, &["ce", "test", "cluster", "--vo", "lab"]);
    let tried = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(tried.contains("is the token good"), "{tried}");
    std::fs::write(&token, slurm.token(3600)).unwrap();
    server.until_status(job, "Done");
    let tried = server.run(&operator, &["ce", "test", "cluster", "--vo", "lab"]);
    let told = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert!(tried.status.success() && told.contains("it called"), "{told}");
}

/// Pilots of eight cores, and jobs of one core and of eight at once. The batch system gives out more cores than
/// this machine has.
#[test]
fn jobs_of_one_core_and_of_eight_fill_nodes_together() {
    if support::seen_on_sqlite() {
        return;
    }
    let slurm = Slurm::up_in(&[("SLURM_CPUS", "16")]);
    let server = Server::start();
    slurm.put_secrets(&server.data().join("secrets/lab"));
    let table = slurm.table("slurm").replace(
        "cores = 1, memory_mb = 2000, wall_time = 3600, max_pilots = 100",
        "cores = 8, overcommit = true, memory_mb = 8000, wall_time = 3600, max_pilots = 2",
    );
    assert!(table.contains("overcommit"), "{table}");
    server.apply(&support::lab_with("", &table)).unwrap();
    let submit = |cores: u32, count: u32| {
        let description = format!(
            r#"{{"executable": "sleep", "arguments": ["3"],
                "requirements": {{"wall_time": 600, "cpu": {{"num_cores": {{"min": {cores}, "max": {cores}}}}}}},
                "parameters": {{"i": {{"start": 0, "step": 1, "count": {count}}}}}}}"#
        );
        server.submit(&description).unwrap()
    };
    let jobs = [submit(8, 6), submit(1, 48)].concat();
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    assert!(server.pilots().len() <= 4, "{:#?}", server.pilots());
    let time = |text: &serde_json::Value| {
        text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    // From the first pilot's first call, which is before its first job.
    let pilots = server.pilots();
    let first = pilots.iter().map(|pilot| time(&pilot["started"])).min().unwrap();
    let last = jobs.iter().map(|job| time(&server.job(*job)["job"]["ended"])).max().unwrap();
    let core_seconds = 3.0 * f64::from(8 * 6 + 48);
    let seconds = (last - first) as f64 / 1e3;
    println!(
        "{core_seconds} core-seconds on 16 cores in {seconds:.1} s: {:.0} % used",
        100.0 * core_seconds / (16.0 * seconds)
    );
}
