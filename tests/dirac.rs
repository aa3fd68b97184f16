//! What DIRAC's users expect of a server: their JDLs, requests that are sent again, what is known of jobs.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/sends.rs"]
mod sends;
mod support;

use serde_json::{Value, json};
use spinor_model::time::{Clock, SystemClock};
use support::{LAB, Server, parted};

/// A server with a VO, and the token of a member.
fn lab(document: &str) -> (Server, String) {
    let server = Server::start();
    server.apply(document).unwrap();
    let ada = server.token(&["--vo", "lab", "--group", "lab_user", "--user", "ada"]);
    (server, ada)
}

/// A server whose VO starts no pilots.
fn idle() -> (Server, String) {
    let document = LAB.replace("max_pilots = 1", "max_pilots = 0");
    lab(&document.replace("site = \"HERE\"", "site = \"HERE\"\nhost = \"ce.example.org\""))
}

fn ask(server: &Server, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let method = if body.is_null() { "GET" } else { "POST" };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, text) = server.request(method, path, Some(token), &body);
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn ids(answer: &Value) -> Vec<i64> {
    answer.as_array().unwrap().iter().map(|job| job["JobID"].as_i64().unwrap()).collect()
}

#[test]
fn a_request_that_is_sent_again_is_the_same_submission() {
    let (server, ada) = idle();
    let jdl = |n: usize| format!("Executable = \"true\"; Arguments = \"{}\";", n / 2);
    let jdls = json!((0..2_000).map(jdl).collect::<Vec<_>>()).to_string();
    let submit = |header: &str| {
        let (status, text) =
            parted(&server.answer(header, "POST", "/api/jobs/jdl", Some(&ada), &jdls));
        assert_eq!(status, 201, "{text}");
        ids(&serde_json::from_str(&text).unwrap())
    };
    let first = submit("x-ms-client-request-id: 4711\r\n");
    assert_eq!(first.len(), 2_000);
    assert_eq!(submit("x-ms-client-request-id: 4711\r\n"), first);
    let other = submit("x-ms-client-request-id: 4712\r\n");
    let without = submit("");
    assert!(other.iter().chain(&without).all(|job| !first.contains(job)));
    let (_, counted) = ask(&server, &ada, "/api/jobs/summary", &json!({"grouping": []}));
    assert_eq!(counted, json!([{"count": 6_000}]));
    let by = json!({"grouping": ["Status", "Status"]});
    let (_, counted) = ask(&server, &ada, "/api/jobs/summary", &by);
    assert_eq!(counted, json!([{"Status": "Waiting", "count": 6_000}]));
}

#[test]
fn a_jdl_says_what_it_says_to_dirac() {
    let (server, ada) = idle();
    let jdl = r#"Executable = "true"; Parameters = {"a", "b"}; ParameterStart.Seed = 7; JobName = "n_%s_%(Seed)s";
        JobGroup = "g_%n"; InputData = "LFN:/lab/%s"; GridCE = "CE.example.org"; Site = "HERE";
        ExecutionEnvironment = "MODE=fast%20one";"#;
    let (status, answer) = ask(&server, &ada, "/api/jobs/jdl", &json!([jdl]));
    assert_eq!(status, 201, "{answer}");
    let job = ids(&answer)[1];
    let shown = |job: i64| {
        let search = [json!({"parameter": "JobID", "operator": "eq", "value": job})];
        let parameters = ["JobName", "JobGroup", "Site", "ApplicationStatus"];
        let body = json!({"search": search, "parameters": parameters});
        ask(&server, &ada, "/api/jobs/search", &body).1[0].clone()
    };
    let expected = json!({"JobName": "n_b_7", "JobGroup": "g_1", "Site": "HERE", "ApplicationStatus": "Unknown"});
    assert_eq!(shown(job), expected);
    let (_, files) = ask(&server, &ada, &format!("/api/jobs/{job}/input-data"), &Value::Null);
    assert_eq!(files, json!(["/lab/b"]));
    let (_, source) = ask(&server, &ada, &format!("/api/jobs/{job}/jdl"), &Value::Null);
    assert_eq!(source, json!(jdl));
    // It goes to no other CE.
    let explained = server.json(&ada, &["job", "explain", &job.to_string()]).to_string();
    assert!(!explained.contains("ces: asks"), "{explained}");
    // Started anew, it is where it was asked for.
    let runs = json!({job.to_string(): {"2000-01-01T00:00:00Z": {"Status": "Running"}}});
    let told = server.request(
        "PATCH",
        "/api/jobs/status?force=true",
        Some(&server.operator()),
        &runs.to_string(),
    );
    assert_eq!(told.0, 200, "{}", told.1);
    let (status, answer) = ask(&server, &ada, "/api/jobs/reschedule", &json!({"job_ids": [job]}));
    assert_eq!((status, &answer["success"][job.to_string()]["Site"]), (200, &json!("HERE")));

    for (jdl, wrong) in [
        (
            r#"Executable = "x"; GridCE = "elsewhere.org";"#,
            "GridCE: VO lab has no CE `elsewhere.org`: it has here",
        ),
        (r#"Executable = "x"; OutputData = {"LFN:/lab/out"};"#, "OutputData: is not uploaded"),
    ] {
        let (status, answer) = ask(&server, &ada, "/api/jobs/jdl", &json!([jdl]));
        assert!(status == 400 && answer["detail"].as_str().unwrap().starts_with(wrong), "{answer}");
    }
}

#[test]
fn pages_of_other_origins_may_ask_where_the_operator_says_so() {
    let server = Server::start_with("[auth]\norigins = [\"https://web.example.org\"]\n");
    let preflight = |origin: &str| {
        let asked = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";
        let header = format!("Origin: {origin}\r\n{asked}");
        server.answer(&header, "OPTIONS", "/api/jobs/search", None, "")
    };
    let allowed = preflight("https://web.example.org").to_lowercase();
    assert!(allowed.starts_with("http/1.1 200"), "{allowed}");
    for line in [
        "access-control-allow-origin: https://web.example.org",
        "access-control-allow-headers: authorization",
        "access-control-allow-methods: post",
    ] {
        assert!(allowed.contains(line), "{line}: {allowed}");
    }
    assert!(!preflight("https://evil.example.org").contains("allow-origin"));
}

#[test]
fn a_ce_that_is_banned_may_not_be_used() {
    let (server, ada) = idle();
    let leaf = || ask(&server, &ada, "/api/rss/compute", &Value::Null).1["here"]["all"].clone();
    assert_eq!(leaf()["allowed"], true);
    let banned =
        server.run(&server.operator(), &["ce", "ban", "here", "--vo", "lab", "--reason", "test"]);
    assert!(banned.status.success(), "{banned:?}");
    assert_eq!(leaf()["allowed"], false);
    let job = server.submit(r#"{"executable": "true"}"#).unwrap()[0];
    let explained = server.json(&ada, &["job", "explain", &job.to_string()]).to_string();
    assert!(explained.contains("is banned"), "{explained}");
}

#[test]
fn what_a_pilot_has_is_its_pilots_to_say() {
    let (server, ada) = lab(LAB);
    let sleeps =
        r#"{"executable": "sleep", "arguments": ["600"], "requirements": {"wall_time": 3600}}"#;
    let job = server.submit(sleeps).unwrap()[0];
    server.until_status(job, "Running");
    for (token, force) in [(&ada, ""), (&server.operator(), "?force=true")] {
        let now = SystemClock.now().to_string();
        let fails = json!({job.to_string(): {now: {"Status": "Failed"}}}).to_string();
        let path = format!("/api/jobs/status{force}");
        let (status, answer) = server.request("PATCH", &path, Some(token), &fails);
        assert!(status == 200 && answer.contains("kill or reschedule it"), "{status} {answer}");
    }
    let path = format!("/api/jobs/{job}/events");
    assert!(!ask(&server, &ada, &path, &Value::Null).1.to_string().contains("Failed"));
    // Where not all are listed, the newest are.
    let later = server.submit(r#"{"executable": "true"}"#).unwrap()[0];
    let listed =
        |more: &[&str]| server.json(&ada, &[&["job", "list", "--limit", "1"], more].concat());
    assert_eq!(listed(&[])[0]["job_id"], json!(later));
    assert_eq!(listed(&["--after", "0"])[0]["job_id"], json!(job));
}

#[test]
fn what_is_known_of_a_job_that_ran_is_found() {
    let (server, ada) = lab(LAB);
    let jdl = r#"Executable = "sh"; Arguments = "-c 'echo said; sleep 2'"; CPUTime = 9000;"#;
    let job = ids(&ask(&server, &ada, "/api/jobs/jdl", &json!([jdl])).1)[0];
    server.until_status(job, "Done");
    let stamp = server.job(job)["attempts"][0]["pilot"].as_str().unwrap().to_owned();
    let find = |path: &str, parameter: &str, value: Value| {
        let spec = json!({"parameter": parameter, "operator": "eq", "value": value});
        ask(&server, &ada, path, &json!({"search": [spec]})).1
    };
    let found = find("/api/jobs/search", "PilotStamp", json!(stamp));
    assert_eq!(ids(&found), [job]);
    assert!(found[0]["HeartBeatTime"].is_string(), "{found}");
    assert_eq!(find("/api/jobs/search", "PilotStamp", json!("nobody")), json!([]));
    let pilots = find("/api/pilots/search", "JobID", json!(job));
    assert_eq!(pilots[0]["PilotStamp"], json!(stamp), "{pilots}");
    let path = format!("/api/jobs/{job}/parameters");
    let (_, known) = ask(&server, &ada, &path, &Value::Null);
    assert_eq!((&known["GridCE"], &known["StandardOutput"]), (&json!("here"), &json!("said\n")));
    assert!(known["WallClockTime(s)"].as_f64().unwrap() >= 2.0, "{known}");
    // Its pilot had no time to say that one has begun that has ended.
    let short = server.submit(r#"{"executable": "true", "requirements": {"wall_time": 3600}}"#);
    let short = short.unwrap()[0];
    server.until_status(short, "Done");
    let found = find("/api/jobs/search", "JobID", json!(short));
    assert!(found[0]["StartExecTime"].is_string(), "{found}");
    let grace = server.token(&["--vo", "lab", "--group", "lab_user", "--user", "grace"]);
    assert_eq!(ask(&server, &grace, &path, &Value::Null).1.get("StandardOutput"), None);
}

#[test]
fn a_payload_sends_what_its_job_leaves_and_nothing_else() {
    let (server, _) = lab(LAB);
    sends::payload_sends(&server);
}
