//! A real ARC CE as it is shipped: by certificate it passes the conformance kit; by token of a real
//! OpenID provider a campaign runs on it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/kit.rs"]
mod kit;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/real.rs"]
mod real;
mod support;

use kit::Kit;
use provider::{Provider, SECRET};
use real::Arc;
use spinor_model::policy::Submission;
use support::{Server, free_port};

const STRANGER: &str = "q1UMDmsjDrAoOSAtDmABFKDmABFKDmABFKDmoZMKDmABFKDmFXYS3m";

#[tokio::test(flavor = "multi_thread")]
async fn by_certificate_it_conforms() {
    if support::seen_on_sqlite() {
        return;
    }
    let arc = Arc::up(&[]);
    let data = tempfile::tempdir().unwrap();
    arc.put_secrets(&data.path().join("secrets/vo"));
    let probe = arc.0.path().join("probe");
    kit::put_probe(&probe);
    let table = arc.table("arc").replace(
        "identity = \"robot\" }",
        &format!("identity = \"robot\", worker.program = \"{}\" }}", probe.display()),
    );
    let backend = |table: &str| table.split_once("[ces.cluster.backend]").unwrap().1.to_owned();
    let bound = async |table: &str| {
        let table =
            format!("[ces.ce.backend]{}", backend(table)).replace("[ces.cluster", "[ces.ce");
        plugins::backend(&plugins::host(data.path()).await, &table).await
    };
    let kit = Kit {
        backend: bound(&table).await,
        queue: "short",
        no_queue: Some("nowhere"),
        carries_files: false,
        gives_outputs: true,
        stranger: STRANGER,
    };
    kit.run().await;
    // Somebody whom ARC does not know is told so.
    let other = bound(&table.replace("robot", "stranger")).await;
    let answer = other.submit(&[kit::pilot("short", 0, 0)]).await.unwrap().remove(0);
    let Submission::Refused(why) = answer else { panic!("{answer:?}") };
    assert!(why.contains("does ARC know this certificate or token"), "{why}");
}

/// A server with the CE by certificate.
fn server_with(arc: &Arc) -> Server {
    let server = Server::start();
    arc.put_secrets(&server.data().join("secrets/lab"));
    server.apply(&support::lab_with("", &arc.table("arc"))).unwrap();
    server
}

#[test]
fn a_daemon_that_dies_amid_submissions_loses_and_doubles_no_pilot() {
    if support::seen_on_sqlite() {
        return;
    }
    let arc = Arc::up(&[]);
    let server = server_with(&arc);
    let description = r#"{"executable": "true", "requirements": {"wall_time": 600},
        "parameters": {"i": {"start": 0, "step": 1, "count": 12}}}"#;
    let jobs = server.submit(description).unwrap();
    server.until("no pilot was sent", || !server.pilots().is_empty());
    arc.0.tell("stop");
    std::thread::sleep(std::time::Duration::from_secs(3));
    arc.0.tell("start");
    for job in jobs {
        server.until_status(job, "Done");
    }
    let names = arc.names();
    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(names.len(), unique.len(), "a pilot was submitted twice");
    let known = server.pilots();
    assert!(!names.is_empty());
    for name in names {
        let stamp = name.strip_prefix("spinor-").unwrap().to_owned();
        assert!(known.iter().any(|pilot| pilot["stamp"] == *stamp), "nobody knows {name}");
    }
}

#[test]
fn a_full_disk_is_told_and_once_there_is_room_the_job_runs() {
    if support::seen_on_sqlite() {
        return;
    }
    let arc = Arc::up(&[("ARC_SESSION_KB", "1024")]);
    let ballast = arc.0.path().join("session/ballast");
    // As much of it as fits.
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap_err();
    let server = server_with(&arc);
    let job = server.submit(r#"{"executable": "true", "requirements": {"wall_time": 600}}"#);
    let job = job.unwrap()[0];
    let told = |pilot: &serde_json::Value| {
        pilot["status_reason"].as_str().unwrap().contains("script could not be brought")
    };
    server.until("nobody is told", || server.pilots().iter().any(told));
    std::fs::remove_file(ballast).unwrap();
    server.until_status(job, "Done");
}

#[test]
fn by_token_a_campaign_runs() {
    if support::seen_on_sqlite() {
        return;
    }
    let port = free_port();
    let arc = Arc::up(&[("ARC_ISSUER", &format!("https://localhost:{port}"))]);
    let authorities = arc.0.told("ARC_CA");
    let server = Server::start_in("", &[("SSL_CERT_FILE", &authorities)]);
    let certificate = arc.0.path().join("ca/issuer.pem");
    let provider = Provider::start_on(port, &server.url(), Some(&certificate));
    let secrets = server.data().join("secrets/lab");
    arc.put_secrets(&secrets);
    std::fs::write(secrets.join("identity"), SECRET).unwrap();
    let identity =
        format!("[identity]\nissuer = \"{}\"\nclient_id = \"spinor\"\n", provider.issuer);
    let document = support::lab_with(&identity, &arc.table("arc-token"));
    server.apply(&document).unwrap();
    let description = r#"{"executable": "echo", "arguments": ["hello from ARC"], "stdout": "out",
        "output_sandbox": ["out"], "requirements": {"wall_time": 600}, "parameters": {"i": {"start": 0, "step": 1, "count": 4}}}"#;
    let jobs = server.submit(description).unwrap();
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    let asked = provider.control("GET", "audiences", "").unwrap();
    assert!(asked.contains("https://localhost"), "{asked}");
    without_a_token_the_operator_is_told(&server, &document);
}

/// Of a provider that gives none, and no job is lost.
fn without_a_token_the_operator_is_told(server: &Server, document: &str) {
    let secret = server.data().join("secrets/lab/identity");
    std::fs::write(&secret, "another").unwrap();
    // Another token than the one that is there.
    server
        .apply(&document.replace("\"compute.cancel\"", "\"compute.cancel\", \"openid\""))
        .unwrap();
    let description = r#"{"executable": "true", "requirements": {"wall_time": 600}}"#;
    let job = server.submit(description).unwrap()[0];
    server.until("it was never told", || {
        let ces = server.json(&server.operator(), &["ce", "list", "--vo", "lab"]);
        let why = ces[0]["why"].as_str().unwrap();
        why.contains("ce-token") && why.contains("compute.create")
    });
    std::fs::write(&secret, SECRET).unwrap();
    server.apply(document).unwrap();
    server.until_status(job, "Done");
}
