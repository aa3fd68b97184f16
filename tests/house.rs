//! The house: no arrow up, and no WebAssembly below the plugin host.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// What each room may use directly: see docs/architecture.md.
const ROOMS: &[(&str, &[&str])] = &[
    ("spinor-model", &[]),
    ("spinor-spool", &["spinor-model"]),
    ("spinor-pilot", &["spinor-model", "spinor-spool"]),
    ("spinor-store", &["spinor-model"]),
    ("spinor-identity", &["spinor-model", "spinor-store"]),
    ("spinor-plugins", &["spinor-model"]),
    ("spinor-lifecycle", &["spinor-identity", "spinor-model", "spinor-spool", "spinor-store"]),
    ("spinor-api", &["spinor-identity", "spinor-lifecycle", "spinor-model", "spinor-store"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // What is for other machines alone may not have been fetched.
    let here = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &here])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let normal =
            |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let deps = list(&node["deps"]);
        let used = deps.iter().filter(normal).map(|dep| names[&text(&dep["pkg"])].clone());
        graph.entry(names[&text(&node["id"])].clone()).or_default().extend(used);
    }
    graph
}

fn reaches(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = open.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

#[test]
fn no_arrow_goes_up() {
    let graph = dependencies();
    for (room, allowed) in ROOMS {
        let ours = graph[*room].iter().filter(|name| name.starts_with("spinor"));
        let found: Vec<&str> = ours.map(String::as_str).collect();
        assert_eq!(found, *allowed, "{room}");
    }
}

#[test]
fn only_the_plugin_host_and_the_binary_link_wasmtime() {
    let graph = dependencies();
    for (room, _) in ROOMS.iter().filter(|(room, _)| *room != "spinor-plugins") {
        let all = reaches(&graph, room);
        let wasm: Vec<_> = all.iter().filter(|name| name.starts_with("wasm")).collect();
        assert!(!all.contains("wasmtime"), "{room} reaches {wasm:?}");
    }
    assert!(reaches(&graph, "spinor").contains("wasmtime"));
}
