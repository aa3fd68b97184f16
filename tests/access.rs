//! Who may call what: every route × every kind of caller, against one table.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::Value;
use std::fmt::Write;
use support::{LAB, Server};

/// Answers that mean a caller got past the door.
fn verdict(status: u16) -> &'static str {
    match status {
        401 => "who?",
        403 => "no",
        500..=599 => "BROKEN",
        _ => "yes",
    }
}

#[test]
fn every_route_asks_for_its_permission() {
    let server = Server::start();
    let managers = "[groups.lab_policies]\nusers = [\"petra\"]\nproperties = [\"PolicyManager\"]\n";
    server.apply(&format!("{LAB}\n{managers}")).unwrap();
    server
        .apply(
            &LAB.replace("vo = \"lab\"", "vo = \"other\"").replace("\"usage\"", "\"usage-other\""),
        )
        .unwrap();
    let callers = [
        ("nobody", None),
        ("forged", Some("eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned())),
        ("member", Some(server.member("lab_user", "ada"))),
        ("administrator", Some(server.member("lab_admin", "root"))),
        ("policies", Some(server.member("lab_policies", "petra"))),
        (
            "other VO",
            Some(server.token(&["--vo", "other", "--group", "lab_user", "--user", "ada"])),
        ),
        ("operator", Some(server.operator())),
    ];
    let (_, openapi) = server.request("GET", "/api/openapi.json", None, "");
    let openapi: Value = serde_json::from_str(&openapi).unwrap();
    let mut table = format!("{:<48}", "");
    for (name, _) in &callers {
        write!(table, "{name:>14}").unwrap();
    }
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for method in methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|m| ["get", "put", "post", "delete"].contains(&m.as_str()))
        {
            let method = method.to_uppercase();
            write!(table, "\n{:<48}", format!("{method} {path}")).unwrap();
            let concrete = path.replace("{id}", "999").replace("{digest}", &"0".repeat(64));
            let concrete = concrete
                .replace("{vo}", "lab")
                .replace("{path}", "matching")
                .replace("{revision}", "1");
            for (_, token) in &callers {
                let (status, body) = server.request(&method, &concrete, token.as_deref(), "{}");
                assert!(status < 500, "{method} {concrete}: {body}");
                write!(table, "{:>14}", verdict(status)).unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
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
