//! Every route, with whatever fits and does not fit its description: nothing breaks, nothing hangs.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
mod support;

use install::{must, python_of};
use std::process::Command;
use support::Server;

/// Cases for each route and caller.
const CASES: &str = "25";

fn fuzz(server: &Server, token: &str) {
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
            .current_dir(server.scratch()),
    );
}

#[test]
fn no_request_of_a_member_breaks_a_route() {
    let server = Server::with_lab();
    fuzz(&server, &server.member("lab_admin", "root"));
}

#[test]
fn no_request_of_an_operator_breaks_a_route() {
    let server = Server::with_lab();
    fuzz(&server, &server.operator());
}
