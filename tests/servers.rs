//! Two servers on one PostgreSQL: a change on one is live on the other, each job is claimed once, and
//! when one is killed the other ends what it began.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::Value;
use std::time::{Duration, Instant};
use support::{LAB, Server};

const SCAN: &str = r#"{"executable": "sleep", "arguments": ["0.3"], "name": "scan %n",
    "parameters": {"sequence": {"count": 40}},
    "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#;

fn bound(server: &Server) -> String {
    let listed = server.json(&server.operator(), &["plugin", "list"]);
    let bindings = listed["bindings"].as_array().unwrap().clone();
    let of_path = |path: &str| bindings.iter().find(|b| b["path"] == path).cloned();
    of_path("matching").map_or(String::new(), |b| b["settings"].as_str().unwrap().to_owned())
}

fn prefer(site: &str) -> String {
    format!("{{\"prefer\": {{\"*\": [\"{site}\"]}}}}")
}

fn bind(server: &Server, settings: &str) {
    let arguments =
        ["plugin", "bind", "lab", "matching", "matching/standard", "--settings", settings];
    let output = server.run(&server.operator(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn all_done(server: &Server, jobs: &[i64]) -> bool {
    let summary = server.json(&server.member("lab_user", "ada"), &["job", "list", "--summary"]);
    let done = summary.as_array().unwrap().iter().find(|s| s["status"] == "Done");
    done.is_some_and(|s| s["count"].as_u64().unwrap() as usize == jobs.len())
}

fn attempts(server: &Server) -> Vec<Value> {
    let (_, body) = server.request("GET", "/api/attempts?vo=lab", Some(&server.operator()), "");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_change_on_one_is_live_on_the_other_within_two_seconds() {
    let [one, two] = Server::pair();
    one.apply(LAB).unwrap();
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        from.until("both know the VO", || !bound(from).is_empty());
        let before = bound(from);
        bind(from, &prefer(&format!("SITE{round}")));
        let (changed, started) = (bound(from), Instant::now());
        assert_ne!(before, changed);
        to.until("the other follows", || bound(to) == changed);
        println!("live on the other after {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    }
    let servers = one.json(&one.operator(), &["servers"]);
    assert_eq!(servers.as_array().unwrap().len(), 2, "{servers}");
    one.until("both say so", || {
        let servers = one.json(&one.operator(), &["servers"]);
        servers.as_array().unwrap().iter().all(|s| s["converged"] == true)
    });
}

#[test]
fn a_component_pushed_to_one_is_bound_on_the_other() {
    let [one, two] = Server::pair();
    one.apply(LAB).unwrap();
    let file = one.scratch().join("rogue.wasm");
    std::fs::write(&file, spinor_rogues::rogue()).unwrap();
    let pushed = one.run(&one.operator(), &["plugin", "push", &file.display().to_string()]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    two.until("it is there", || {
        two.json(&two.operator(), &["plugin", "list"])["plugins"]
            .to_string()
            .contains("matching/rogue")
    });
    let arguments = [
        "plugin",
        "bind",
        "lab",
        "matching",
        "matching/rogue",
        "--settings",
        r#"{"mode":"behave"}"#,
    ];
    let output = two.run(&two.operator(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    one.until("the first follows", || bound(&one) == bound(&two));
    let quick = r#"{"executable": "true", "requirements": {"wall_time": 60}}"#;
    let job = one.submit(quick).unwrap()[0];
    one.until_status(job, "Done");
    assert_eq!(attempts(&two)[0]["rule"], "matching/rogue 6.6.6");
}

#[test]
fn one_is_killed_in_the_middle_of_a_rollout_and_of_a_campaign_and_the_other_ends_both() {
    let [mut one, two] = Server::pair();
    one.apply(LAB).unwrap();
    two.until("both know the VO", || !bound(&two).is_empty());
    let jobs = one.submit(SCAN).unwrap();
    one.until("some are done", || attempts(&one).iter().any(|a| a["state"] == "ended"));
    let petra = one.operator();
    let settings = prefer("HERE");
    let rollout =
        ["plugin", "rollout", "lab", "matching", "matching/standard", "--settings", &settings];
    let output = one.run(&petra, &rollout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    one.kill();
    two.until("the candidate is there as well", || {
        let places = two.json(&two.operator(), &["plugin", "status", "lab", "matching"]);
        !places[0]["rollout"].is_null()
    });
    let promoted = two.run(&two.operator(), &["plugin", "promote", "lab", "matching"]);
    assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    two.until("the campaign ends", || all_done(&two, &jobs));
    let attempts = attempts(&two);
    let ended = attempts.iter().filter(|a| a["state"] == "ended").count();
    assert_eq!(ended, jobs.len(), "each job was done once");
    one.up();
    one.until("it has caught up", || bound(&one) == bound(&two));
}

#[test]
fn a_server_that_cannot_load_a_version_says_so_and_keeps_the_old_one() {
    let [one, two] = Server::pair();
    one.apply(LAB).unwrap();
    two.until("both know the VO", || !bound(&two).is_empty());
    let before = bound(&two);
    let file = one.scratch().join("rogue.wasm");
    std::fs::write(&file, spinor_rogues::rogue()).unwrap();
    // The component never reaches the second: its file is taken away before the version is known there.
    let digest = spinor_digest(spinor_rogues::rogue());
    let blob = one.files().join("components").join(&digest[..2]).join(&digest);
    let settings = r#"{"mode":"behave"}"#;
    two.freeze();
    let bind =
        ["plugin", "bind", "lab", "matching", &file.display().to_string(), "--settings", settings];
    let output = one.run(&one.operator(), &bind);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    two.thaw();
    one.until("it says so", || {
        let servers = one.json(&one.operator(), &["servers"]);
        servers.to_string().contains("is not here")
    });
    assert_eq!(bound(&two), before, "the old one stays");
    let servers = one.json(&one.operator(), &["servers"]);
    assert!(servers.as_array().unwrap().iter().any(|s| s["converged"] == false), "{servers}");
    std::fs::write(&blob, kept).unwrap();
    two.until("it catches up", || bound(&two) == bound(&one));
    std::thread::sleep(Duration::from_millis(10));
}

fn spinor_digest(bytes: &[u8]) -> String {
    spinor_model::id::Digest::of(bytes).to_string()
}
