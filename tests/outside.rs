//! A plugin that speaks to servers on the network: what it was granted, with secrets that it never
//! sees; its version after it is asked the same on a recording, and nothing is sent twice.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/load.rs"]
mod load;
mod support;

use load::Load;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use support::Server;

/// A server on this machine that echoes what it was sent, or sends one elsewhere.
async fn peer() -> (String, Arc<Mutex<Vec<String>>>) {
    use axum::{extract::State, http::HeaderMap, routing::get};
    type Asked = Arc<Mutex<Vec<String>>>;
    let asked = Asked::default();
    let echo = |State(asked): State<Asked>, headers: HeaderMap| async move {
        let token = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
        let token = token.unwrap_or_else(|| "nothing".to_owned());
        asked.lock().unwrap().push(token.clone());
        format!("I got {token}")
    };
    let away = || async { axum::response::Redirect::temporary("http://169.254.169.254/latest") };
    let app = axum::Router::new()
        .route("/api/echo", get(echo))
        .route("/api/away", get(away))
        .with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (origin, asked)
}

fn document(vo: &str, grants: &str, settings: &Value) -> String {
    let sink = format!(
        "[accounting.out]\nplugin = \"accounting/courier\"\nsettings = {}\n[accounting.out.grants]\n{grants}\n",
        settings.to_string().replace("\":", "\" = ")
    );
    format!("{}{sink}", load::document(vo))
}

/// Method, URL, headers.
type Wanted<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn settings(requests: &[Wanted<'_>]) -> Value {
    let requests: Vec<Value> = requests
        .iter()
        .map(|(method, url, headers)| json!({"method": method, "url": url, "headers": headers}))
        .collect();
    json!({"requests": requests, "times": 1})
}

/// Records flow until the plugin has written a line with these words; all lines that it wrote.
async fn until_written(server: &Server, vo: &str, wanted: &[&str]) -> String {
    let load = Load::start(server, vo, 1, 1);
    let who = server.token(&["--vo", vo, "--group", "policies", "--user", "petra"]);
    let mut lines = String::new();
    server.until(&format!("{wanted:?} in the logs of {vo}"), || {
        lines = server.json(&who, &["plugin", "logs", "--limit", "500"]).to_string();
        wanted.iter().all(|words| lines.contains(words))
    });
    let (_, failures) = load.end().await;
    assert!(failures.is_empty(), "{failures:?}");
    lines
}

fn put_secret(server: &Server, vo: &str, name: &str, value: &str) {
    let folder = server.data().join("secrets").join(vo);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_out_unseen_and_a_new_version_is_asked_on_a_recording() {
    let server = Server::start();
    let (origin, asked) = peer().await;
    put_secret(&server, "lab", "jwt", "s3cret-value");
    std::fs::write(server.scratch().join("courier.wasm"), spinor_rogues::courier()).unwrap();
    let courier = server.scratch().join("courier.wasm").display().to_string();
    assert!(server.run(&server.operator(), &["plugin", "push", &courier]).status.success());
    let echo = format!("{origin}/api/echo");
    let bearer: &[(&str, &str)] = &[("authorization", "Bearer {secret:jwt}")];
    let now = settings(&[("GET", &echo, bearer)]);
    let grants = format!(
        "http = [{{ origin = \"{origin}\", paths = [\"/api/\"], private = true }}]\nsecret.jwt = {{ origin = \"{origin}\", header = \"authorization\" }}"
    );
    server.apply(&document("lab", &grants, &now)).unwrap();

    let used = "secret `jwt` put into GET ";
    let lines = until_written(&server, "lab", &["200: I got Bearer {secret:jwt}", used]).await;
    assert!(!lines.contains("s3cret-value") && lines.contains("[\\\"jwt\\\"]"), "{lines}");
    assert!(asked.lock().unwrap().iter().all(|token| token == "Bearer s3cret-value"));
    assert!(!server.log().contains("s3cret-value"));

    let mut sent = 0;
    server.until("all records are delivered", || {
        let before = std::mem::replace(&mut sent, asked.lock().unwrap().len());
        std::thread::sleep(std::time::Duration::from_secs(1));
        before == sent
    });
    let replay = |settings: &Value| {
        let settings = settings.to_string();
        let arguments = [
            "plugin",
            "replay",
            "lab",
            "accounting.out",
            "accounting/courier",
            "--settings",
            &settings,
        ];
        server.json(&server.operator(), &arguments)
    };
    let same = replay(&now);
    let differences = &same["differences"];
    assert!(differences["compared"].as_u64().unwrap() > 0, "{same}");
    assert_eq!(differences["same"], differences["compared"], "{same}");
    let other = replay(&settings(&[("GET", &format!("{echo}?new"), bearer)]));
    assert_eq!(other["differences"]["faults"], other["differences"]["compared"], "{other}");
    assert!(other.to_string().contains("asks http.send what was not asked then"), "{other}");
    assert_eq!(asked.lock().unwrap().len(), sent, "nothing was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_malicious_sink_sends_elsewhere_is_not_sent() {
    let server = Server::start();
    let (origin, asked) = peer().await;
    put_secret(&server, "bad", "jwt", "s3cret-value");
    put_secret(&server, "calm", "theirs", "another-secret");
    std::fs::write(server.scratch().join("courier.wasm"), spinor_rogues::courier()).unwrap();
    let courier = server.scratch().join("courier.wasm").display().to_string();
    assert!(server.run(&server.operator(), &["plugin", "push", &courier]).status.success());
    let (echo, away) = (format!("{origin}/api/echo"), format!("{origin}/api/away"));
    let here = origin.replace("127.0.0.1", "localhost");
    let local = format!("{here}/api/echo");
    let cases = settings(&[
        ("GET", &local, &[]),
        ("GET", &away, &[]),
        ("GET", "http://169.254.169.254/latest", &[]),
        ("DELETE", &echo, &[]),
        ("GET", &echo, &[("x", "a\r\nauthorization: Bearer forged")]),
        ("GET", &echo, &[("content-length", "7")]),
        ("GET", &echo, &[("authorization", "Bearer {secret:theirs}")]),
        ("GET", &echo, &[("authorization", "Bearer {secret:../calm/theirs}")]),
        ("GET", &echo, &[("cookie", "{secret:jwt}")]),
    ]);
    let grants = format!(
        "http = [{{ origin = \"{origin}\", paths = [\"/api/\"], private = true }}, {{ origin = \"{here}\", paths = [\"/api/\"] }}]\nsecret.jwt = {{ origin = \"{origin}\", header = \"authorization\" }}"
    );
    server.apply(&document("bad", &grants, &cases)).unwrap();
    let told = [
        "localhost is at the private address",
        "307: ",
        "no grant covers GET http://169.254.169.254/latest",
        "no grant covers DELETE",
        "has characters that no value may have",
        "is the host's own to set",
        "no grant puts secret `theirs`",
        "no grant puts secret `../calm/theirs`",
        "no grant puts secret `jwt` into header `cookie`",
    ];
    let lines = until_written(&server, "bad", &told).await;
    assert!(!lines.contains("s3cret") && !lines.contains("another-secret"), "{lines}");
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new(), "none of them was sent");

    let mut flood = settings(&[("GET", &echo, &[])]);
    flood["times"] = json!(1_001);
    server.apply(&document("bad", &grants, &flood)).unwrap();
    until_written(&server, "bad", &["a call may send 1000 requests"]).await;
}
