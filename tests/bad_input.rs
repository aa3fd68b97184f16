//! What people get wrong: each gets an error that names the thing and the way out, and nothing changes.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::{LAB, Server};

fn refused(result: Result<impl std::fmt::Debug, String>, parts: &[&str]) {
    let text = result.unwrap_err();
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn descriptions() {
    let server = Server::with_lab();
    refused(server.submit("{"), &["the description is no JSON"]);
    refused(server.submit("[]"), &["no JSON object"]);
    refused(server.submit(r#"{"executable": ""}"#), &["/executable", "name the program to run"]);
    refused(server.submit(r#"{"executable": "x", "argments": []}"#), &["unknown field `argments`"]);
    refused(
        server.submit(r#"{"type": "workflow", "executable": "x"}"#),
        &["no plugin is bound to `handling.workflow` in VO lab", "bound are handling.executable"],
    );
    refused(
        server.submit(r#"{"executable": "x", "requirements": {"walltime": 9}}"#),
        &["/requirements/walltime", "unknown field `walltime`", "9"],
    );
    refused(
        server.submit(r#"{"executable": "x", "requirements": {"wall/time": 9}}"#),
        &["/requirements/wall~1time = 9", "unknown field `wall/time`"],
    );
    refused(
        server.submit(r#"{"executable": "x", "requirements": {"cpu": {"num_cores": "four"}}}"#),
        &["/requirements/cpu/num_cores", "\"four\""],
    );
    refused(
        server.submit(r#"{"executable": "x", "arguments": ["1", 2]}"#),
        &["/arguments/1", "expected a string"],
    );
    refused(
        server.submit(r#"{"executable": "x", "requirements": {"cpu": {"num_cores": {"min": 0}}}}"#),
        &["/requirements/cpu/num_cores/min", "ask for 1 to 1024"],
    );
    refused(
        server.submit(
            r#"{"executable": "x", "arguments": ["%(sed)s"], "parameters": {"seed": [1]}}"#,
        ),
        &["%(sed)s", "write %(NAME)s for a parameter (seed)"],
    );
    refused(
        server.submit(r#"{"executable": "x", "input_sandbox": ["nowhere.py"]}"#),
        &["nowhere.py", "there is no file"],
    );
    let digest = "0".repeat(64);
    refused(
        server.submit(&format!(r#"{{"executable": "x", "input_sandboxes": ["{digest}"]}}"#)),
        &["/input_sandboxes", "was never uploaded"],
    );
    refused(
        server.submit(r#"{"executable": "x", "parameters": {"n": {"count": 10001}}}"#),
        &["/parameters/n", "the VO allows 10000"],
    );
    let jobs = server.json(&server.member("lab_user", "ada"), &["job", "list"]);
    assert_eq!(jobs, serde_json::json!([]), "nothing came in");
}

#[test]
fn a_sandbox_over_the_limit() {
    let server = Server::start();
    server.apply(&LAB.replace("[limits]", "[limits]\nmax_sandbox_mb = 1")).unwrap();
    let noise: String = (0..400_000u64)
        .map(|i| format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    server.file("big.bin", &noise);
    let result = server.submit(r#"{"executable": "x", "input_sandbox": ["big.bin"]}"#);
    refused(result, &["over the VO's limit of 1 MiB", "limits.max_sandbox_mb"]);
}

#[test]
fn documents() {
    let server = Server::with_lab();
    let before = server.request("GET", "/api/vos/lab", Some(&server.operator()), "");
    refused(
        server.apply(&LAB.replace("wall_time", "walltime")),
        &["line ", "unknown field `walltime`"],
    );
    refused(
        server.apply(&LAB.replace("site = \"HERE\"", "site = \"THERE\"")),
        &["ces.here.site", "THERE"],
    );
    refused(
        server.apply(&LAB.replace("matching/standard", "matching/clever")),
        &[
            "matching.plugin = matching/clever *",
            "is not here; this server has matching/standard 0.1.0",
        ],
    );
    refused(
        server.apply(&LAB.replace("[matching]", "[matching]\nsettings.perfer = {}")),
        &["matching.settings", "perfer"],
    );
    refused(
        server.apply(&LAB.replace(
            "[matching]",
            "[matching]\nsettings.prefer.user = [\"A\"]\nsettings.avoid.user = [\"A\"]",
        )),
        &["matching.settings/prefer/user", "take it out of one of the two"],
    );
    refused(
        server.apply(&LAB.replace("grants.directory.path = \"usage\"", "")),
        &["accounting.files.grants", "imports capability `directory`, which is not granted"],
    );
    refused(
        server.apply(&LAB.replace("grants.process", "grants.proces")),
        &["unknown field `proces`"],
    );
    let after = server.request("GET", "/api/vos/lab", Some(&server.operator()), "");
    assert_eq!(before, after, "nothing changed");
}

#[test]
fn components() {
    let server = Server::with_lab();
    let upload =
        |content: &str| server.request("POST", "/api/plugins", Some(&server.operator()), content);
    let there = || {
        let (_, plugins) = server.request("GET", "/api/plugins", Some(&server.operator()), "");
        plugins.matches("\"digest\"").count()
    };
    let before = there();
    let (status, answer) = upload("#!/bin/sh\n");
    assert_eq!(status, 422);
    assert!(answer.contains("not a WebAssembly component: it begins with 23212f62"), "{answer}");
    let (status, answer) = upload("\0asm\u{1}\0\0\0");
    assert_eq!(status, 422);
    assert!(answer.contains("a core WebAssembly module, not a component"), "{answer}");
    assert_eq!(there(), before, "nothing came in");
}

#[test]
fn every_refusal_is_a_problem_document() {
    let server = Server::with_lab();
    let (ada, operator) = (server.member("lab_user", "ada"), server.operator());
    let huge = "x".repeat(17 << 20);
    for (method, path, token, body, status, part) in [
        ("POST", "/api/pilots/start", None, "{}", 422, "missing field `protocol`"),
        ("POST", "/api/jobs/kill", Some(&ada), "{", 400, "EOF while parsing"),
        ("POST", "/api/jobs", Some(&ada), &*huge, 413, "over 16 MiB: send files as sandboxes"),
        ("GET", "/api/jobs?limt=3", Some(&ada), "", 400, "unknown field `limt`"),
        ("GET", "/api/jobs/seven", Some(&ada), "", 400, "seven"),
        ("PATCH", "/api/jobs", Some(&ada), "", 405, "/api/openapi.json"),
        (
            "PUT",
            "/api/sites/HERE/ban?vo=lab",
            Some(&operator),
            r#"{"reason": " "}"#,
            400,
            "reason is empty",
        ),
        ("GET", "/api/nowhere", Some(&operator), "", 404, "there is no /api/nowhere"),
        ("GET", "/api/jobs", None, "", 401, "Authorization header is missing"),
    ] {
        let (found, answer) = server.request(method, path, token.map(String::as_str), body);
        let problem: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{method} {path}: {answer}"));
        assert_eq!((found, &problem["status"]), (status, &status.into()), "{method} {path}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{method} {path}: {problem}");
    }
}

#[test]
fn commands_without_server_or_token() {
    let mut server = Server::start();
    let ada = server.operator();
    let no_token = server.run("", &["job", "list"]);
    assert_eq!(no_token.status.code(), Some(2));
    server.kill();
    let nobody = server.run(&ada, &["job", "list"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(
        String::from_utf8_lossy(&nobody.stderr)
            .contains("cannot reach the server at http://127.0.0.1:")
    );
}
