//! A malicious collection against a server under load: each case is contained, attributed and
//! reported, and the neighbour's requests are all answered.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/load.rs"]
mod load;
mod support;

use load::{Asked, Load, quantile};
use serde_json::Value;
use std::time::Instant;
use support::Server;

/// A number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len() as u32), content.to_vec()].concat()
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

/// The rogue with more core modules at its end, started with it if `start`.
fn with_modules(modules: &[Vec<u8>], start: bool) -> Vec<u8> {
    let mut component = spinor_rogues::rogue().to_vec();
    let mut depth = 0;
    let mut there = 0u32;
    for payload in wasmparser::Parser::new(0).parse_all(&component) {
        match payload.unwrap() {
            wasmparser::Payload::ModuleSection { .. } => {
                there += u32::from(depth == 0);
                depth += 1;
            }
            wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    for (i, module) in modules.iter().enumerate() {
        component.extend(section(1, module));
        if start {
            let instance = [vec![1, 0], leb(there + i as u32), vec![0]].concat();
            component.extend(section(2, &instance));
        }
    }
    component
}

/// Four memories of 25 MiB: each is within the limit, together they are not.
fn memories() -> Vec<u8> {
    let memory = module(&[section(5, &[vec![1, 0], leb(400)].concat())]);
    with_modules(&vec![memory; 4], true)
}

/// A table of ten million elements.
fn table() -> Vec<u8> {
    let table = module(&[section(4, &[vec![1, 0x70, 0], leb(10_000_000)].concat())]);
    with_modules(&[table], true)
}

/// Functions that keep Cranelift busy for minutes: many values, all alive, and many branches.
fn compile_bomb() -> Vec<u8> {
    const LOCALS: u32 = 2_000;
    let mut body = [vec![1], leb(LOCALS), vec![0x7f]].concat();
    for i in 0..150_000u32 {
        body.extend([vec![0x20], leb(i % LOCALS)].concat());
        body.extend([0x04, 0x40]);
        body.extend([vec![0x20], leb((i * 7) % LOCALS)].concat());
        body.extend([vec![0x20], leb((i * 13) % LOCALS)].concat());
        body.extend([vec![0x6a, 0x21], leb((i * 31) % LOCALS), vec![0x0b]].concat());
    }
    body.push(0x0b);
    let function = [leb(body.len() as u32), body].concat();
    let code = [vec![1], function].concat();
    let bomb = module(&[section(1, &[1, 0x60, 0, 0]), section(3, &[1, 0]), section(10, &code)]);
    with_modules(&vec![bomb; 4], false)
}

fn push(server: &Server, token: &str, bytes: &[u8]) -> Result<Value, String> {
    let file = server.scratch().join("pushed.wasm");
    std::fs::write(&file, bytes).unwrap();
    let output = server.run(token, &["plugin", "push", &file.display().to_string(), "--json"]);
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// A rogue VO's rule misbehaves: what its policy manager reads about it.
fn misbehave(server: &Server, petra: &str, mode: &str) -> String {
    let settings = format!("{{\"mode\": \"{mode}\"}}");
    let bind = ["plugin", "bind", "bad", "matching", "matching/rogue", "--settings", &settings];
    let bound = server.run(petra, &bind);
    assert!(bound.status.success(), "{mode}: {}", String::from_utf8_lossy(&bound.stderr));
    let mut told = String::new();
    server.until(&format!("{mode} is told of"), || {
        let places = server.json(petra, &["plugin", "status", "bad", "matching"]);
        let first = &places[0]["versions"][0];
        told = first["reason"].as_str().unwrap().to_owned();
        first["faults"].as_u64().unwrap() > 0
    });
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn each_case_is_contained_attributed_and_reported_and_the_neighbour_is_served() {
    let server = Server::start_with("[plugins]\ncompile_seconds = 8\n");
    server.apply(&load::document("calm")).unwrap();
    server.apply(&load::document("bad")).unwrap();
    let petra = server.token(&["--vo", "bad", "--group", "policies", "--user", "petra"]);
    let calm = Load::start(&server, "calm", 1, 2);
    let bad = Load::start(&server, "bad", 1, 1);
    let started = Instant::now();

    for (what, bytes, expected) in [
        ("memories", memories(), "wanted more than its 64 MiB of memory (limit `memory_mb`)"),
        ("table", table(), "table index 0 has a minimum element size of 10000000"),
        ("compile bomb", compile_bomb(), "takes more than 8 s (limit `plugins.compile_seconds`)"),
        (
            "grabber",
            spinor_rogues::grabber().to_vec(),
            "asks spinor:host/directory, which matching plugins may not have",
        ),
        ("100 MB", vec![0; 100 << 20], "64 MiB at most"),
        ("forged", b"\x7fELF\x02\x01\x01\0".to_vec(), "not a WebAssembly component"),
    ] {
        let refused = push(&server, &petra, &bytes).unwrap_err();
        assert!(refused.contains(expected), "{what}: {refused}");
    }
    push(&server, &petra, spinor_rogues::rogue()).unwrap();
    for (mode, expected) in [
        ("loop", "used up its fuel"),
        ("panic", "the sky is falling"),
        ("eat", "wanted more than its 64 MiB of memory"),
        ("recurse", "trapped"),
        ("sleep", "must not sleep"),
        ("huge", "trapped"),
    ] {
        let told = misbehave(&server, &petra, mode);
        assert!(told.contains(expected), "{mode}: {told}");
    }
    let history = server.json(&petra, &["plugin", "history", "bad", "--limit", "200"]).to_string();
    for told in ["\"trip\"", "\"reject\"", "matching/rogue 6.6.6"] {
        assert!(history.contains(told), "{told}: {history}");
    }

    let ended = Instant::now();
    let (answered, failures) = calm.end().await;
    assert!(failures.is_empty(), "{failures:?}");
    let (_, failures) = bad.end().await;
    assert!(failures.is_empty(), "a VO's own requests are answered too: {failures:?}");
    let of = |share| quantile(&answered, Asked::Match, started..ended, share);
    let matches = answered.iter().filter(|a| a.asked == Asked::Match).count();
    println!("the neighbour: {matches} matches, p50 {:.1} ms, p99 {:.1} ms", of(0.5), of(0.99));
    assert!(matches > 100, "{matches}");
}
