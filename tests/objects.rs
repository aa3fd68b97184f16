//! Sandboxes and components in an S3 bucket: DiracX's clients send to it and fetch from it past the server.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/sends.rs"]
mod sends;
mod support;

use objects::{ENVIRONMENT, Objects};
use provider::{Provider, every_command, every_operation};
use serde_json::{Value, json};
use spinor_model::id::Digest;
use std::process::Command;
use support::{LAB, Server};

#[test]
fn diracxs_clients_send_sandboxes_to_a_bucket_and_fetch_them_from_it() {
    let objects = Objects::start();
    let (_provider, server) = Provider::with_server_in(&objects.configuration(), ENVIRONMENT);
    every_command(&server);
    every_operation(&server);
    assert!(!objects.files("sandboxes").is_empty() && !objects.files("components").is_empty());
    assert!(!server.data().join("sandboxes").exists(), "nothing is kept beside the bucket");
}

#[test]
fn a_payload_sends_to_the_bucket() {
    let objects = Objects::start();
    let server = Server::start_in(&objects.configuration(), ENVIRONMENT);
    server.apply(LAB).unwrap();
    sends::payload_sends(&server);
}

/// Sends a file with a form; the status.
fn send(server: &Server, form: &Value, change: (&str, &str), content: &[u8]) -> u16 {
    let file = server.scratch().join("sent");
    std::fs::write(&file, content).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    for (name, value) in form["fields"].as_object().unwrap() {
        let value = if name == change.0 { change.1 } else { value.as_str().unwrap() };
        curl.arg("-F").arg(format!("{name}={value}"));
    }
    curl.arg("-F").arg(format!("file=@{}", file.display())).arg(form["url"].as_str().unwrap());
    String::from_utf8(curl.output().unwrap().stdout).unwrap().parse().unwrap()
}

#[test]
fn what_is_sent_to_the_bucket_is_looked_at_before_it_is_taken() {
    let objects = Objects::start();
    let server = Server::start_in(&objects.configuration(), ENVIRONMENT);
    server.apply(&LAB.replace("[limits]", "[limits]\nsandbox_quota_mb = 1")).unwrap();
    let (ada, grace) = (server.member("lab_user", "ada"), server.member("lab_user", "grace"));
    let right = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 60]].concat();
    let wrong = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[8; 60]].concat();
    let begin = |token: &str, size: usize| {
        let info = json!({"checksum_algorithm": "sha256", "checksum": Digest::of(&right).to_string(),
            "size": size, "format": "tar.zst"});
        let (status, text) =
            server.request("POST", "/api/jobs/sandbox", Some(token), &info.to_string());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let form = begin(&ada, right.len());
    let link = |token: &str, form: &Value| {
        let pfn = form["pfn"].as_str().unwrap().replace('|', "%7C");
        server.request("GET", &format!("/api/jobs/sandbox?pfn={pfn}"), Some(token), "")
    };
    assert_eq!(link(&ada, &form).0, 400, "nothing was sent");
    // The store holds a form to its size, place and signature.
    assert!(send(&server, &form, ("", ""), &right[..40]) >= 400);
    assert!(send(&server, &form, ("key", "spinor/components/x"), &right) >= 400);
    assert!(send(&server, &form, ("x-amz-signature", "00"), &right) >= 400);
    assert!(objects.files("sandboxes").is_empty());
    // What is in it is for the server to see.
    assert_eq!(send(&server, &form, ("", ""), &wrong), 204);
    let (status, text) = link(&ada, &form);
    assert!(status == 400 && text.contains("SHA-256"), "{text}");
    assert!(objects.files("sandboxes").is_empty(), "it is taken away");
    assert_eq!(send(&server, &form, ("", ""), &right), 204);
    let (status, text) = link(&ada, &form);
    assert_eq!(status, 200, "{text}");
    let url: Value = serde_json::from_str(&text).unwrap();
    let fetched = Command::new("curl").args(["-s", url["url"].as_str().unwrap()]).output().unwrap();
    assert_eq!(fetched.stdout, right);
    assert_eq!(objects.files("sandboxes"), [Digest::of(&right).to_string()]);
    assert!(begin(&ada, right.len())["url"].is_null(), "it is here");
    // Who knows a digest has not the content: it must be sent again.
    let theirs = begin(&grace, right.len());
    assert!(theirs["url"].is_string());
    assert_eq!(link(&grace, &theirs).0, 400);
    assert_eq!(link(&grace, &form).0, 403);
    // What is here is wanted again, however full the VO is; more is not taken, by whichever way.
    server.apply(&LAB.replace("[limits]", "[limits]\nsandbox_quota_mb = 0")).unwrap();
    assert!(begin(&ada, right.len())["url"].is_null());
    assert_eq!(send(&server, &theirs, ("", ""), &right), 204);
    assert_eq!(link(&grace, &theirs).0, 413, "the form was given out before");
    server.apply(&LAB.replace("[limits]", "[limits]\nsandbox_quota_mb = 1")).unwrap();
    assert_eq!(link(&grace, &theirs).0, 200, "what was sent is not lost");
    // A VO's people store so much, and no more.
    let much = json!({"checksum_algorithm": "sha256", "checksum": "0".repeat(64), "size": 1 << 20,
        "format": "tar.zst"});
    let (status, text) = server.request("POST", "/api/jobs/sandbox", Some(&ada), &much.to_string());
    assert!(status == 413 && text.contains("sandbox_quota_mb"), "{text}");
}
