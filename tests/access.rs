//! Who may call what: every route × every kind of caller, against one table.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::{Value, json};
use spinor_identity::{
    subject::{PilotIdentity, Subject},
    token::Keys,
};
use spinor_model::{
    id::{AttemptNumber, Digest, JobId},
    time::{Clock, SystemClock},
};
use std::{collections::BTreeMap, fmt::Write, time::Duration};
use support::{LAB, Server};

/// What an answer means for whoever asked.
fn verdict(status: u16) -> &'static str {
    match status {
        401 => "who?",
        403 => "no",
        404 => "-",
        500..=599 => "BROKEN",
        _ => "yes",
    }
}

/// A member of every sort in VO `lab`, and a VO beside it.
const PEOPLE: &str = r#"
[groups.lab_policies]
users = ["petra"]
properties = ["PolicyManager"]
[groups.lab_people]
users = ["uma"]
properties = ["UserManager"]
"#;

/// Everybody who may call: a job is ada's, waits, and is named in paths and bodies.
fn callers(server: &Server, job: i64, sibling: i64) -> Vec<(&'static str, Option<String>)> {
    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    let issue = |subject: &Subject| {
        Some(keys.issue(subject, Duration::from_secs(600), SystemClock.now()).unwrap())
    };
    let pilot = |vo: &str| {
        issue(&Subject::Pilot(PilotIdentity {
            stamp: "walker".parse().unwrap(),
            vo: vo.parse().unwrap(),
            site: "HERE".parse().unwrap(),
            ce: "here".parse().unwrap(),
            queue: "all".parse().unwrap(),
        }))
    };
    let payload = |job: i64| {
        issue(&Subject::Job {
            job: JobId(job),
            attempt: AttemptNumber(0),
            vo: "lab".parse().unwrap(),
            owner: "ada".parse().unwrap(),
        })
    };
    let member = |vo: &str, group: &str, user: &str| {
        Some(server.token(&["--vo", vo, "--group", group, "--user", user]))
    };
    vec![
        ("nobody", None),
        ("forged", Some("eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned())),
        ("owner", member("lab", "lab_user", "ada")),
        ("mate", member("lab", "lab_user", "grace")),
        ("admin", member("lab", "lab_admin", "root")),
        ("policies", member("lab", "lab_policies", "petra")),
        ("people", member("lab", "lab_people", "uma")),
        ("other VO", member("other", "lab_user", "ada")),
        ("operator", Some(server.operator())),
        ("pilot", pilot("lab")),
        ("other pilot", pilot("other")),
        ("job", payload(job)),
        ("sibling", payload(sibling)),
    ]
}

/// What is sent where `{}` would not get to the question of who may.
fn body(path: &str, job: i64) -> String {
    let now = SystemClock.now();
    let told = json!({job.to_string(): {now.to_string(): {"ApplicationStatus": "x"}}});
    match path {
        "/api/jobs/status" => told.to_string(),
        "/api/jobs/heartbeat" => json!({job.to_string(): {}}).to_string(),
        "/api/jobs/metadata" => json!({job.to_string(): {"Mood": "good"}}).to_string(),
        "/api/jobs/reschedule" | "/api/jobs/sandbox/unassign" => {
            json!({"job_ids": [job]}).to_string()
        }
        "/api/jobs/kill" => json!({"job_ids": [job], "vo": "lab"}).to_string(),
        "/api/jobs/jdl" => json!([]).to_string(),
        "/api/pilots/" => json!({"pilot_stamp": "walk", "vo": "lab"}).to_string(),
        "/api/pilots/metadata" => json!({"walk": {"Status": "Running"}}).to_string(),
        "/api/jobs/{id}/application-status" => json!({"application_status": "x"}).to_string(),
        "/api/users/{user}/ban" => json!({"reason": "walk"}).to_string(),
        _ => "{}".to_owned(),
    }
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/access.md");

#[test]
fn every_route_asks_for_its_permission() {
    let server = Server::start();
    // No pilot comes: the jobs run somewhere else, as an operator says.
    let lab = LAB.replace("max_pilots = 1", "max_pilots = 0");
    server.apply(&format!("{lab}\n{PEOPLE}")).unwrap();
    server
        .apply(
            &lab.replace("vo = \"lab\"", "vo = \"other\"").replace("\"usage\"", "\"usage-other\""),
        )
        .unwrap();
    let ada = server.token(&["--vo", "lab", "--group", "lab_user", "--user", "ada"]);
    let sandbox = "BZh of ada's";
    let digest = Digest::of(sandbox.as_bytes()).to_string();
    let path = format!("/api/sandboxes/{digest}");
    assert_eq!(server.request("PUT", &path, Some(&ada), sandbox).0, 204);
    let given = format!("InputSandbox = \"SB:X|/S3/x/lab/lab_user/ada/sha256:{digest}.tar.bz2\";");
    let jobs = [&*given, ""].map(|given| {
        let jdl = json!([format!("Executable = \"true\"; {given}")]).to_string();
        let (status, text) = server.request("POST", "/api/jobs/jdl", Some(&ada), &jdl);
        assert_eq!(status, 201, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()[0]["JobID"].as_i64().unwrap()
    });
    let now = SystemClock.now().to_string();
    for job in jobs {
        let runs = json!({job.to_string(): {&now: {"Status": "Running"}}}).to_string();
        let path = "/api/jobs/status?force=true";
        assert_eq!(server.request("PATCH", path, Some(&server.operator()), &runs).0, 200);
    }
    let callers = callers(&server, jobs[0], jobs[1]);
    let (_, openapi) = server.request("GET", "/api/openapi.json", None, "");
    let openapi: Value = serde_json::from_str(&openapi).unwrap();
    let mut table = format!("| {:<52} |", "route");
    let mut line = format!("|{}|", "-".repeat(54));
    for (name, _) in &callers {
        write!(table, " {name} |").unwrap();
        line.push_str("---|");
    }
    writeln!(table, "\n{line}").unwrap();
    let mut rows = BTreeMap::new();
    let paths = openapi["paths"].as_object().unwrap();
    let mut paths: Vec<_> = paths.iter().collect();
    // Orders change what the others are asked about.
    paths.sort_by_key(|(path, _)| {
        ["/api/jobs/kill", "/api/jobs/reschedule"].contains(&path.as_str())
    });
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let mut row = format!("| {:<52} |", format!("{method} {path}"));
            let concrete = path.replace("{id}", &jobs[0].to_string()).replace("{digest}", &digest);
            let concrete = concrete
                .replace("{vo}", "lab")
                .replace("{path}", "matching")
                .replace("{revision}", "1")
                .replace("{kind}", "output")
                .replace("{stamp}", "walk")
                .replace("{user}", "nemo");
            for (_, token) in &callers {
                let body = body(path, jobs[0]);
                let (status, text) = server.request(&method, &concrete, token.as_deref(), &body);
                assert!(status < 500, "{method} {concrete}: {text}");
                let named =
                    ["permission", "property", "grant"].iter().any(|word| text.contains(word));
                assert!(
                    status != 403 || named,
                    "{method} {concrete} says not what is missing: {text}"
                );
                write!(row, " {} |", verdict(status)).unwrap();
            }
            rows.insert((path, method), row);
        }
    }
    table.extend(rows.into_values().map(|row| row + "\n"));
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, _) = page.split_once("| route").unwrap_or((&page, ""));
    let wanted = format!("{before}{table}");
    if std::env::var_os("SPINOR_UPDATE").is_some() {
        std::fs::write(PAGE, &wanted).unwrap();
    }
    let differ: Vec<_> =
        wanted.lines().filter(|line| !page.lines().any(|own| own == *line)).collect();
    assert!(
        page == wanted,
        "docs/reference/access.md says otherwise (SPINOR_UPDATE=1 writes it): {differ:#?}"
    );
}

#[test]
fn a_vo_does_not_see_another() {
    let server = Server::with_lab();
    server
        .apply(
            &LAB.replace("vo = \"lab\"", "vo = \"other\"").replace("\"usage\"", "\"usage-other\""),
        )
        .unwrap();
    let job = server.submit(r#"{"executable": "true"}"#).unwrap()[0];
    let stranger = server.token(&["--vo", "other", "--group", "lab_admin", "--user", "root"]);
    for path in ["", "/events", "/attempts", "/logs", "/output", "/explain"] {
        let (status, _) =
            server.request("GET", &format!("/api/jobs/{job}{path}"), Some(&stranger), "");
        assert_eq!(status, 404, "{path}");
    }
    let (_, jobs) = server.request("GET", "/api/jobs", Some(&stranger), "");
    assert_eq!(jobs, "[]");
    let (status, _) = server.request("GET", "/api/jobs?vo=lab", Some(&stranger), "");
    assert_eq!(status, 404);
    let (_, killed) = server.request(
        "POST",
        "/api/jobs/kill",
        Some(&stranger),
        &format!(r#"{{"job_ids": [{job}]}}"#),
    );
    assert!(killed.contains("not yours to manage"), "{killed}");
}
