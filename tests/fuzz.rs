//! Every route, with whatever fits and does not fit its description: nothing breaks, nothing hangs.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
mod support;

use install::{must, python_of};
use spinor_identity::{
    subject::{PilotIdentity, Subject},
    token::Keys,
};
use spinor_model::{
    id::{AttemptNumber, JobId},
    time::{Clock, SystemClock},
};
use std::{process::Command, time::Duration};
use support::Server;

/// Cases for each route and caller.
const CASES: &str = "25";

fn fuzz(server: &Server, token: &str, more: &[&str]) {
    let python = python_of("tests/fuzz/requirements.txt", "schemathesis", &[]);
    let program = python.with_file_name("schemathesis");
    must(
        Command::new(program)
            .args(["run", &format!("{}/api/openapi.json", server.url())])
            .args(["--checks", "not_a_server_error", "--phases", "coverage,fuzzing"])
            .args(["--max-response-time", "20", "--request-timeout", "60", "-n", CASES])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--generation-deterministic", "--warnings", "off", "--no-color"])
            // What Prometheus reads is no JSON, and VO documents are TOML, which it cannot make.
            .args(["--exclude-path", "/api/metrics"])
            .args([
                "--exclude-operation-id",
                "apply",
                "--exclude-operation-id",
                "apply_installation",
            ])
            .args(more)
            .current_dir(server.scratch()),
    );
}

#[test]
fn no_request_of_a_member_breaks_a_route() {
    let server = Server::with_lab();
    fuzz(&server, &server.member("lab_admin", "root"), &[]);
}

#[test]
fn no_request_of_an_operator_breaks_a_route() {
    let server = Server::with_lab();
    fuzz(&server, &server.operator(), &[]);
}

#[test]
fn no_request_of_a_pilot_or_a_payload_breaks_a_route() {
    let server = Server::with_lab();
    let sleeper =
        r#"{"executable": "sleep", "arguments": ["600"], "requirements": {"wall_time": 900}}"#;
    let job = server.submit(sleeper).unwrap()[0];
    server.until_status(job, "Running");
    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    let issue = |subject: &Subject| {
        keys.issue(subject, Duration::from_secs(3600), SystemClock.now()).unwrap()
    };
    let pilot = Subject::Pilot(PilotIdentity {
        stamp: server.pilots()[0]["stamp"].as_str().unwrap().parse().unwrap(),
        vo: "lab".parse().unwrap(),
        site: "HERE".parse().unwrap(),
        ce: "here".parse().unwrap(),
        queue: "all".parse().unwrap(),
    });
    fuzz(&server, &issue(&pilot), &["--include-path-regex", "^/api/(pilots|sandboxes)"]);
    let payload = Subject::Job {
        job: JobId(job),
        attempt: AttemptNumber(1),
        vo: "lab".parse().unwrap(),
        owner: "ada".parse().unwrap(),
    };
    fuzz(&server, &issue(&payload), &["--include-path-regex", "^/api/(jobs|sandboxes)"]);
}
