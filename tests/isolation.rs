//! Payloads that are kept apart: two owners' jobs side by side in one pilot, neither of which sees the other's.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::{LAB, Server};

/// Where payloads are kept apart.
fn isolated() -> String {
    LAB.replace("cores = 2, memory_mb", "isolate = true, cores = 2, memory_mb")
}

#[test]
fn two_owners_share_a_pilot_and_see_nothing_of_each_other() {
    let server = Server::start();
    let isolated = isolated();
    let tagged = isolated.replace("isolate = true", "tags = [\"isolated\"]");
    let why = server.apply(&tagged).unwrap_err();
    assert!(why.contains("ces.here.queues.all.tags") && why.contains("isolate = true"), "{why}");
    server.apply(&isolated).unwrap();
    // Each looks for the other's secret, for the server's keys, and for processes that are not its own.
    let script = "echo own > secret; sleep 3; ls -d ../*/ | wc -l; test -e $0 && echo seen; \
        ps -e | grep -c spinor; touch /usr/x 2>/dev/null || echo read-only; cat secret";
    let keys = server.data().join("keys/compiled.key");
    let description = serde_json::json!({
        "executable": "sh", "arguments": ["-c", script, keys], "stdout": "out",
        "requirements": {"tags": "isolated", "wall_time": 600},
    });
    let file = server.scratch().join("job.json");
    std::fs::write(&file, description.to_string()).unwrap();
    let submit = |user: &str| {
        let member = server.member("lab_user", user);
        let told = server.json(&member, &["job", "submit", file.to_str().unwrap()]);
        told["job_ids"][0].as_i64().unwrap()
    };
    let jobs = ["ada", "grace"].map(|user| (user, submit(user)));
    let show = |(user, job): (&str, i64)| {
        server.json(&server.member("lab_user", user), &["job", "show", &job.to_string()])
    };
    for (user, job) in jobs {
        server.until("a job is not done", || show((user, job))["job"]["status"] == "Done");
        assert_eq!(server.printed(user, job), "1\n0\nread-only\nown\n");
    }
    let [ada, grace] = jobs.map(|job| show(job)["attempts"][0].clone());
    assert_eq!(ada["pilot"], grace["pilot"], "{ada} {grace}");
    let time = |attempt: &serde_json::Value, what: &str| attempt[what].as_str().unwrap().to_owned();
    assert!(time(&grace, "claimed") < time(&ada, "ended"), "one after the other: {ada} {grace}");
}

/// What a job brings and sets counts inside its walls, and not for what makes them.
#[test]
fn a_payload_brings_no_walls_of_its_own() {
    let server = Server::start();
    server.apply(&isolated()).unwrap();
    server.file("bwrap", "#!/bin/sh\necho out; ps -e | grep -c spinor\n");
    let description = serde_json::json!({
        "executable": "/bin/sh", "arguments": ["-c", "/bin/chmod +x bwrap; echo $PATH; /bin/ps -e | /bin/grep -c spinor"],
        "environment": {"PATH": ".:/nowhere", "LD_PRELOAD": "./none.so"},
        "input_sandbox": ["bwrap"], "stdout": "out", "requirements": {"wall_time": 600},
    });
    let job = server.submit(&description.to_string()).unwrap()[0];
    server.until("it did not end", || ["Done", "Failed"].contains(&&*server.status(job)));
    assert_eq!(server.printed("ada", job), ".:/nowhere\n0\n");
}

#[test]
fn a_payload_that_is_ended_may_tidy_up_first() {
    let server = Server::start();
    server.apply(&isolated()).unwrap();
    let description = serde_json::json!({
        "executable": "sh", "stdout": "out",
        "arguments": ["-c", "trap 'echo tidied; exit 9' TERM; echo begun; while :; do sleep 0.1; done"],
        "requirements": {"wall_time": 600},
    });
    let job = server.submit(&description.to_string()).unwrap()[0];
    server.until_status(job, "Running");
    server.until("it never began", || server.printed("ada", job) == "begun\n");
    let ada = server.member("lab_user", "ada");
    assert!(server.run(&ada, &["job", "kill", &job.to_string()]).status.success());
    server.until_status(job, "Killed");
    server.until("it was not asked", || server.printed("ada", job) == "begun\ntidied\n");
}
