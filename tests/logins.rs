//! Logins and what becomes of them: who is let in, who no longer, and what a thief gets.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/provider.rs"]
mod provider;
mod support;

use provider::{Provider, kit, login, python};
use serde_json::{Value, json};
use spinor_identity::{
    subject::{PilotIdentity, Subject},
    token::Keys,
};
use spinor_model::{
    id::{AttemptNumber, Digest, JobId},
    time::{Clock, SystemClock, Timestamp},
};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};
use support::Server;

const VO: &str = "vo.spinor.test";

/// Tokens of a login.
fn tokens(file: &str) -> (String, String) {
    let text = std::fs::read_to_string(file).unwrap();
    let tokens: Value = serde_json::from_str(&text).unwrap();
    let token = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

fn form(server: &Server, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "\n%{http_code}", &format!("{}{path}", server.url())]);
    for (name, value) in fields {
        curl.args(["--data-urlencode", &format!("{name}={value}")]);
    }
    let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (body, status) = output.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

fn renew(server: &Server, refresh: &str) -> (u16, Value) {
    form(server, "/api/auth/token", &[("grant_type", "refresh_token"), ("refresh_token", refresh)])
}

fn who(server: &Server, token: &str) -> u16 {
    server.request("GET", "/api/auth/userinfo", Some(token), "").0
}

/// Why somebody is not let in.
fn turned_away(server: &Server, user: &str, group: &str) -> String {
    let output = Command::new(python())
        .arg(kit().join("login.py"))
        .args([
            "--url",
            &server.url(),
            "--user",
            user,
            "--group",
            group,
            "--credentials",
            "none.json",
        ])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(server.scratch())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{user} was let in");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn ids(answer: &str) -> Vec<i64> {
    let rows: Vec<Value> = serde_json::from_str(answer).unwrap();
    rows.iter().map(|row| row["JobID"].as_i64().unwrap()).collect()
}

/// An operator says that a job runs somewhere.
fn run(server: &Server, job: i64) {
    let told = json!({job.to_string(): {SystemClock.now().to_string(): {"Status": "Running"}}});
    let operator = server.operator();
    let path = "/api/jobs/status?force=true";
    let (status, text) = server.request("PATCH", path, Some(&operator), &told.to_string());
    assert_eq!(status, 200, "{text}");
}

/// The payload of a job of alice's that nobody here has run.
fn subject(job: i64) -> Subject {
    Subject::Job {
        job: JobId(job),
        attempt: AttemptNumber(0),
        vo: VO.parse().unwrap(),
        owner: "alice".parse().unwrap(),
    }
}

fn submit(server: &Server, token: &str) -> i64 {
    submit_with(server, token, "")
}

fn submit_with(server: &Server, token: &str, more: &str) -> i64 {
    let jdl = format!(r#"Executable = "/bin/true"; Site = "NOWHERE.never.test"; {more}"#);
    let (status, body) =
        server.request("POST", "/api/jobs/jdl", Some(token), &json!([jdl]).to_string());
    assert_eq!(status, 201, "{body}");
    ids(&body)[0]
}

/// Uploads a sandbox of these words, which nobody unpacks; its digest and its name.
fn upload(server: &Server, token: &str, words: &str) -> (Digest, String) {
    let content = format!("BZh {words}");
    let digest = Digest::of(content.as_bytes());
    let path = format!("/api/sandboxes/{digest}");
    assert_eq!(server.request("PUT", &path, Some(token), &content).0, 204);
    (digest, format!("SB:SandboxSE|/S3/spinor/{VO}/user/alice/sha256:{digest}.tar.bz2"))
}

#[test]
fn members_come_and_go_as_their_provider_says() {
    let (provider, server) = Provider::with_server();
    let document = provider.vo(VO, false).replace("client_id", "recheck_minutes = 0\nclient_id");
    server.apply(&document).unwrap();
    let (access, refresh) = tokens(&login(&server, "alice", "user"));
    assert_eq!(who(&server, &access), 200);
    assert!(turned_away(&server, "mallory", "user").contains("is in no group of VO"));
    assert!(turned_away(&server, "alice", "admin").contains("not a member of the requested group"));

    // The provider changes its keys; its people come in all the same.
    provider.control("POST", "rotate", r#"{"keep": false}"#).unwrap();
    login(&server, "anna", "user");
    // So does this server, and nobody is logged out.
    let data = server.data().display().to_string();
    let rotated = server.run("", &["token", "rotate", "--data", &data]);
    assert!(rotated.status.success());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(who(&server, &access), 200);
    let (status, renewed) = renew(&server, &refresh);
    assert_eq!(status, 200, "{renewed}");
    let refresh = renewed["refresh_token"].as_str().unwrap().to_owned();

    // Who is no member any more is told so with the next renewal, and every session ends.
    provider.control("POST", "users/alice", r#"{"entitlements": []}"#).unwrap();
    let (status, refused) = renew(&server, &refresh);
    assert_eq!(status, 403, "{refused}");
    assert_eq!(renew(&server, &refresh).0, 401);
}

#[test]
fn a_vo_says_who_is_let_in_and_for_how_long() {
    let (provider, server) = Provider::with_server();
    let with = |lines: &str| {
        let document = provider.vo(VO, false).replace("client_id", &format!("{lines}\nclient_id"));
        server.apply(&document).unwrap();
    };
    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    for hours in [1, 48] {
        with(&format!("session_hours = {hours}"));
        let (_, refresh) = tokens(&login(&server, "alice", "user"));
        let ends = keys.verify::<Value>(&refresh).unwrap()["exp"].as_i64().unwrap();
        let left = ends - SystemClock.now().0 / 1000;
        assert!((hours * 3600 - 120..=hours * 3600).contains(&left), "{hours} h: {left} s");
    }
    // An entitlement is not enough where the VO lists its people itself.
    with("register = false");
    assert!(turned_away(&server, "anna", "user").contains("is in no group of VO"));
}

#[test]
fn who_is_shut_out_is_out_with_all_tokens_and_jobs() {
    let (_provider, server) = Provider::with_server();
    let (alice, refresh) = tokens(&login(&server, "alice", "user"));
    let (anna, _) = tokens(&login(&server, "anna", "user"));
    let (job, other) = (submit(&server, &alice), submit(&server, &anna));
    let operator = server.operator();
    // One of her jobs runs, and its payload speaks.
    let running = submit(&server, &alice);
    run(&server, running);
    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    let payload = keys.issue(&subject(running), Duration::from_secs(3600), SystemClock.now());
    let payload = payload.unwrap();
    let beat = || {
        let body = json!({running.to_string(): {}}).to_string();
        server.request("PATCH", "/api/jobs/heartbeat", Some(&payload), &body).0
    };
    assert_eq!(beat(), 200);
    let ban = ["user", "ban", "alice", "--reason", "mining coins", "--vo", VO];
    let done = server.json(&operator, &ban);
    assert_eq!(done["killed"], 2, "{done}");
    assert_eq!(beat(), 401, "its token is dead with her");
    assert_eq!(who(&server, &alice), 401);
    assert_eq!(renew(&server, &refresh).0, 401);
    let told = turned_away(&server, "alice", "user");
    assert!(told.contains("shut out"), "{told}");
    let status = |id: i64| {
        let jobs = server.json(&operator, &["job", "list", "--vo", VO]);
        let found = jobs.as_array().unwrap().iter().find(|j| j["job_id"] == id).cloned();
        found.unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!([job, running, other].map(status), ["Killed", "Killed", "Waiting"]);
    assert!(server.run(&operator, &["user", "unban", "alice", "--vo", VO]).status.success());
    login(&server, "alice", "user");
}

#[test]
fn vos_do_not_see_each_other_by_any_of_diracxs_routes() {
    let (_provider, server) = Provider::with_server();
    let (alice, _) = tokens(&login(&server, "alice", "user"));
    let job = submit(&server, &alice);
    let file = server.scratch().join("bob.json").display().to_string();
    let arguments = ["--user", "bob", "--vo", "other.spinor.test", "--credentials", &file];
    provider::script(&server, "login.py", &arguments).unwrap();
    let (bob, _) = tokens(&file);
    let ask = |method: &str, path: &str, body: Value| {
        server.request(method, path, Some(&bob), &body.to_string())
    };
    assert_eq!(ask("POST", "/api/jobs/search", json!({})).1, "[]");
    let all =
        json!({"grouping": ["VO"], "search": [{"parameter": "VO", "operator": "eq", "value": VO}]});
    assert_eq!(ask("POST", "/api/jobs/summary", all).1, "[]");
    let pilot = json!({"pilot_stamp": "alices", "vo": VO}).to_string();
    let operator = server.operator();
    let (registered, text) = server.request("POST", "/api/pilots/", Some(&operator), &pilot);
    assert_eq!(registered, 201, "{text}");
    let (_, seen) = server.request("POST", "/api/pilots/search", Some(&alice), "{}");
    assert!(seen.contains("alices"), "{seen}");
    assert_eq!(ask("POST", "/api/pilots/search", json!({})).1, "[]");
    let now = SystemClock.now().to_string();
    for (method, path, body) in [
        (
            "PATCH",
            "/api/jobs/status".to_owned(),
            json!({job.to_string(): {now: {"Status": "Killed"}}}),
        ),
        ("PATCH", "/api/jobs/heartbeat".to_owned(), json!({job.to_string(): {}})),
        ("PATCH", "/api/jobs/metadata".to_owned(), json!({job.to_string(): {"Site": "X"}})),
        ("POST", "/api/jobs/reschedule".to_owned(), json!({"job_ids": [job]})),
        ("GET", format!("/api/jobs/{job}/sandbox"), json!({})),
        ("DELETE", format!("/api/jobs/{job}/sandbox"), json!({})),
    ] {
        let (status, text) = ask(method, &path, body);
        assert_eq!(status, 403, "{method} {path}: {text}");
    }
    for path in ["parameters", "jdl", "input-data", "events"] {
        assert_eq!(ask("GET", &format!("/api/jobs/{job}/{path}"), json!({})).0, 404, "{path}");
    }
    let config = ask("GET", "/api/config/", json!({})).1;
    assert!(
        config.contains("other.spinor.test") && !config.contains("\"vo.spinor.test\""),
        "{config}"
    );
}

#[test]
fn a_thief_gets_nothing_and_leaves_no_token_in_the_log() {
    let (_provider, server) = Provider::with_server();
    let (alice, stolen) = tokens(&login(&server, "alice", "user"));
    let [(digest, name), (_, siblings)] =
        ["one", "sibling"].map(|words| upload(&server, &alice, words));
    let given =
        |name: &str| format!("InputSandbox = {{\"{name}\"}}; InputData = {{\"LFN:/vo/a\"}};");
    let one = submit_with(&server, &alice, &given(&name));
    let sibling = submit_with(&server, &alice, &given(&siblings));
    // A refresh token that was used is worth nothing, and its person's sessions end.
    let (_, first) = renew(&server, &stolen);
    let second = first["refresh_token"].as_str().unwrap().to_owned();
    let (status, answer) = renew(&server, &stolen);
    assert_eq!(status, 401, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("potential attack"), "{answer}");
    assert_eq!(renew(&server, &second).0, 401);

    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    let foreign = Keys::open(&server.scratch().join("foreign.jwks"), "test").unwrap();
    let hour = Duration::from_secs(3600);
    let now = SystemClock.now();
    let own = keys.issue(&subject(one), hour, now).unwrap();
    let expired = keys.issue(&subject(one), hour, Timestamp(now.0 - 2 * 3_600_000)).unwrap();
    let forged = foreign.issue(&subject(one), hour, now).unwrap();
    let beat = |token: &str, job: i64| {
        let body = json!({job.to_string(): {"LoadAverage": 1.0}}).to_string();
        server.request("PATCH", "/api/jobs/heartbeat", Some(token), &body).0
    };
    assert_eq!(beat(&own, one), 403, "nothing runs that could speak");
    for job in [one, sibling] {
        run(&server, job);
    }
    assert_eq!(beat(&own, one), 200);
    assert_eq!(beat(&own, sibling), 403);
    assert_eq!((beat(&expired, one), beat(&forged, one)), (401, 401));
    // A job's token is good for its own attempt alone, and for nothing that its owner may beside.
    assert_eq!(server.request("POST", "/api/jobs/jdl", Some(&own), "[]").0, 403);
    assert_eq!(server.request("POST", "/api/jobs/search", Some(&own), "{}").0, 403);
    // It has what the job was given, while that runs.
    let get = |path: String| server.request("GET", &path, Some(&own), "").0;
    let sandbox = |name: &str| get(format!("/api/jobs/sandbox?pfn={}", name.replace('|', "%7C")));
    assert_eq!((sandbox(&name), sandbox(&siblings)), (200, 403));
    assert_eq!(get(format!("/api/sandboxes/{digest}")), 200);
    assert_eq!(get(format!("/api/sandboxes/{}", Digest::of(b"BZh sibling"))), 404);
    for what in ["jdl", "input-data", "parameters", "sandbox"] {
        let of = |job: i64| get(format!("/api/jobs/{job}/{what}"));
        assert_eq!((of(one), of(sibling)), (200, 403), "{what}");
    }
    let told = json!({one.to_string(): {SystemClock.now().to_string(): {"Status": "Done"}}});
    let path = "/api/jobs/status?force=true";
    assert_eq!(server.request("PATCH", path, Some(&server.operator()), &told.to_string()).0, 200);
    assert_eq!(sandbox(&name), 403, "it has ended");
    assert_eq!(get(format!("/api/jobs/{one}/jdl")), 403);

    // A pilot speaks for itself: with another's name it has nothing to say.
    let pilot = |stamp: &str| {
        let identity = PilotIdentity {
            stamp: stamp.parse().unwrap(),
            vo: VO.parse().unwrap(),
            site: "HERE".parse().unwrap(),
            ce: "here".parse().unwrap(),
            queue: "all".parse().unwrap(),
        };
        keys.issue(&Subject::Pilot(identity), hour, now).unwrap()
    };
    let result = json!({"job": one, "attempt": 1, "nonce": "x", "ending": {"how": "exited", "code": 0},
        "consumption": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "max_memory_mb": 1}, "output": null,
        "missing_outputs": [], "stdout_tail": "", "stderr_tail": ""});
    let brought =
        server.request("POST", "/api/pilots/result", Some(&pilot("thief")), &result.to_string());
    assert_eq!(brought.0, 409, "{}", brought.1);

    let log = server.log();
    for token in [&alice, &stolen, &second, &own, &expired, &forged] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "a token is in the log");
    }
    assert!(log.contains("a refresh token was used again"), "{log}");
}

/// Our own command, as somebody who has no token but what a login left.
fn spinor(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(support::SPINOR);
    command
        .args(arguments)
        .env("SPINOR_URL", server.url())
        .env("SPINOR_CREDENTIALS", server.scratch().join("ours.json"))
        .env_remove("SPINOR_TOKEN")
        .current_dir(server.scratch());
    command
}

fn said(server: &Server, arguments: &[&str]) -> Result<String, String> {
    let output = spinor(server, arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[test]
fn our_own_command_logs_in_submits_a_jdl_and_logs_out() {
    let (_provider, server) = Provider::with_server();
    let none = said(&server, &["whoami"]).unwrap_err();
    assert!(none.contains("nobody is logged in"), "{none}");

    let mut login = spinor(&server, &["login", VO]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(login.stdout.take().unwrap()).lines().map(Result::unwrap);
    let link = lines.by_ref().find(|line| line.contains("http")).unwrap();
    let script = kit().join("browser.py");
    let browsed = Command::new(python()).arg(script).args([link.trim(), "alice"]).output().unwrap();
    assert!(browsed.status.success(), "{browsed:?}");
    let who: String = lines.collect::<Vec<_>>().join("\n");
    assert!(login.wait().unwrap().success() && who.contains("alice of VO"), "{who}");

    server.file("job.jdl", "Executable = \"/bin/echo\"; Arguments = \"hello\";");
    let done = said(&server, &["job", "submit", "job.jdl", "--wait", "--json"]).unwrap();
    assert!(done.contains("Done"), "{done}");

    // A token that ends while a command runs is renewed.
    let file = server.scratch().join("ours.json");
    let before = std::fs::read_to_string(&file).unwrap();
    let mut kept: Value = serde_json::from_str(&before).unwrap();
    kept[server.url()]["expires_on"] = json!(0);
    std::fs::write(&file, kept.to_string()).unwrap();
    assert!(said(&server, &["whoami"]).unwrap().contains("alice"));
    assert_ne!(std::fs::read_to_string(&file).unwrap(), before);

    assert!(said(&server, &["logout"]).unwrap().contains("logged out"));
    let out = said(&server, &["job", "list"]).unwrap_err();
    assert!(out.contains("nobody is logged in"), "{out}");
}

#[test]
fn memberships_that_only_introspection_tells_of_count_where_the_document_says_so() {
    let (provider, server) = Provider::with_server();
    let document = |more: &str| {
        let line = "client_id = \"spinor\"\n";
        let with = format!("{line}scopes = [\"profile\", \"offline_access\"]\n{more}");
        provider.vo(VO, false).replace(line, &with)
    };
    server.apply(&document("")).unwrap();
    assert!(turned_away(&server, "alice", "user").contains("in no group"));
    server.apply(&document("introspection = true\nrecheck_minutes = 0\n")).unwrap();
    let (alice, refresh) = tokens(&login(&server, "alice", "user"));
    assert_eq!(who(&server, &alice), 200);
    let (status, renewed) = renew(&server, &refresh);
    assert_eq!(status, 200, "{renewed}");
    provider.control("POST", "users/alice", "{\"entitlements\": []}").unwrap();
    let (status, out) = renew(&server, renewed["refresh_token"].as_str().unwrap());
    assert_eq!(status, 403, "{out}");
}

/// What the provider says of a token that storage was shown.
fn introspected(provider: &Provider, token: &str) -> Value {
    let url = format!("{}/token/introspection", provider.issuer);
    let client = format!("spinor:{}", provider::SECRET);
    let mut curl = Command::new("curl");
    curl.args(["-s", "-u", &client, "--data-urlencode", &format!("token={token}"), &url]);
    serde_json::from_slice(&curl.output().unwrap().stdout).unwrap()
}

#[test]
fn payloads_get_their_communitys_token_for_data_and_a_fresh_one_in_time() {
    let (provider, server) = Provider::with_server();
    let data = "[identity.data]\nscopes = [\"storage.read:/\"]\naudience = \"https://storage.example\"\ngroups = [\"user\"]\n";
    let document = provider.vo(VO, true).replace("[support]", &format!("{data}[support]"));
    let wrong = server.apply(&document.replace("groups = [\"user\"]", "groups = [\"users\"]"));
    assert!(wrong.unwrap_err().contains("identity.data.groups"), "a group that is not there");
    server.apply(&document).unwrap();
    let (alice, _) = tokens(&login(&server, "alice", "user"));
    let (adam, _) = tokens(&login(&server, "adam", "admin"));

    // Tokens live for six seconds: one that begins with the job does not outlive it.
    let script = "cat $BEARER_TOKEN_FILE; stat -c ' %%a ' $BEARER_TOKEN_FILE; sleep 5; cat $BEARER_TOKEN_FILE";
    server.file(
        "data.json",
        &json!({"type": "User", "executable": "/bin/sh", "arguments": ["-c", script],
        "output_sandbox": ["*", ".*"], "optional_outputs": true})
        .to_string(),
    );
    let submitted = server.json(&alice, &["job", "submit", "data.json"]);
    let job = submitted["job_ids"][0].as_i64().unwrap();
    let shown = || server.json(&alice, &["job", "show", &job.to_string()])["job"]["status"].clone();
    server.until("the job runs", || shown() == "Done");
    let logs = server.json(&alice, &["job", "logs", &job.to_string()]);
    let text = logs["stdout_tail"].as_str().unwrap().to_owned();
    let seen: Vec<&str> = text.split_whitespace().collect();
    let [first, "600", last] = seen[..] else { panic!("{text}") };
    assert_ne!(first, last, "it was renewed while the job ran");
    let told = introspected(&provider, last);
    assert_eq!(
        (&told["active"], &told["scope"]),
        (&json!(true), &json!("storage.read:/")),
        "{told}"
    );
    assert_eq!(told["client_id"], "spinor");
    let audiences = provider.control("GET", "audiences", "").unwrap();
    assert!(audiences.contains("https://storage.example"), "{audiences}");

    // Nobody else asks for it: not people, not pilots, not a job that has ended; it is in no log and no output.
    let path = format!("/api/jobs/{job}/data-token");
    let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
    let (vo, owner) = (VO.parse().unwrap(), "alice".parse().unwrap());
    let over = Subject::Job { job: JobId(job), attempt: AttemptNumber(1), vo, owner };
    let over = keys.issue(&over, Duration::from_secs(600), SystemClock.now()).unwrap();
    for token in [&alice, &adam, &server.operator(), &over] {
        assert_eq!(server.request("GET", &path, Some(token), "").0, 403);
    }
    assert!(!server.log().contains(first) && !server.log().contains(last));
    let output = server.run(&alice, &["job", "output", &job.to_string(), "--to", "."]);
    assert!(output.status.success(), "{output:?}");
    let kept = std::fs::read_dir(server.scratch().join(format!("job-{job}"))).unwrap();
    let kept: Vec<_> = kept.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.contains(&"std.out".to_owned()), "{kept:?}");
    assert!(!kept.iter().any(|file| file.contains("token")), "{kept:?}");
}

#[test]
fn a_portals_robot_submits_for_people_and_each_job_says_for_whom() {
    let server = Server::start();
    let made = server.run("", &["token", "robot"]);
    let made = String::from_utf8(made.stdout).unwrap();
    let (secret, digest) = made.trim().split_once('\n').unwrap();
    let secret = secret.strip_prefix("secret: ").unwrap();
    let lab = support::LAB.replace("max_pilots = 1", "max_pilots = 0");
    let robot = format!("\n[robots.gateway]\ngroup = \"lab_user\"\n{digest}\n");
    let named = server.apply(&format!("{lab}{}", robot.replace("gateway", "ada")));
    assert!(named.unwrap_err().contains("robots.ada"), "a person's name");
    server.apply(&format!("{lab}{robot}")).unwrap();

    let ask = |name: &str, secret: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", name),
            ("client_secret", secret),
            ("scope", "vo:lab"),
        ];
        form(&server, "/api/auth/token", &fields)
    };
    for (name, secret) in [("gateway", "guessed"), ("portal", secret), ("ada", secret)] {
        assert_eq!(ask(name, secret).0, 401);
    }
    let (status, granted) = ask("gateway", secret);
    assert_eq!(status, 200, "{granted}");
    assert!(granted.get("refresh_token").is_none(), "{granted}");
    let token = granted["access_token"].as_str().unwrap();
    let submit = |path: &str, token: &str, person: Option<&str>, body: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "-H", &format!("Authorization: Bearer {token}")]);
        if let Some(person) = person {
            curl.args(["-H", &format!("Spinor-Person: {person}")]);
        }
        let output = curl.args(["-d", body, &format!("{}{path}", server.url())]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    };
    let job = r#"{"executable": "true"}"#;
    let (status, text) = submit("/api/jobs", token, None, job);
    assert!(status == "400" && text.contains("spinor-person"), "{text}");
    let ada = server.member("lab_user", "ada");
    assert_eq!(
        submit("/api/jobs", &ada, Some("eve"), job).0,
        "400",
        "people submit for themselves"
    );
    assert_eq!(submit("/api/jobs", token, Some("alice@inst.example"), job).0, "201");
    let jdl = r#"["Executable = \"/bin/true\"; JobType = \"executable\";"]"#;
    let (status, text) = submit("/api/jobs/jdl", token, Some("bob@inst.example"), jdl);
    assert_eq!(status, "201", "{text}");
    for (job, person) in [(1, "alice@inst.example"), (2, "bob@inst.example")] {
        let job = server.job(job);
        assert_eq!(
            (&job["job"]["owner"], &job["job"]["person"]),
            (&json!("gateway"), &json!(person))
        );
    }
    let shown = server.run(&ada, &["job", "show", "1"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("for alice@inst.example"));
    assert!(!server.log().contains(secret));

    // When it is taken away its tokens end.
    server.apply(&lab).unwrap();
    assert_eq!(submit("/api/jobs", token, Some("alice@inst.example"), job).0, "401");
    assert_eq!(ask("gateway", secret).0, 401);
}
