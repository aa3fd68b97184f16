//! Components go into a real OCI registry and come out of it, by tag but recorded by digest.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/registry.rs"]
mod registry;
mod support;

use registry::Registry;
use support::Server;

#[test]
fn a_component_is_published_and_pushed_from_a_registry() {
    let (server, registry) = (Server::with_lab(), Registry::start());
    let operator = server.operator();
    let file = server.scratch().join("plain.wasm");
    std::fs::write(&file, spinor_rogues::plain()).unwrap();
    let tag = format!("oci://{}/plugins/short-first:1.0.0", registry.host);
    let run = |arguments: &[&str]| {
        let output = server.run(&operator, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(error)
        }
    };
    run(&["plugin", "publish", &file.display().to_string(), &tag]).unwrap();
    let pushed = run(&["plugin", "push", &tag]).unwrap();
    assert!(pushed.starts_with("matching/short-first 1.0.0"), "{pushed}");
    let (_, history) = server.request("GET", "/api/vos/lab/history", Some(&operator), "");
    assert!(!history.contains("short-first"), "an operator pushes for everyone, not for a VO");
    let listed = server.json(&operator, &["plugin", "inspect", "matching/short-first"]);
    let source = listed[0]["source"].as_str().unwrap();
    assert!(source.contains("plugins/short-first@sha256:"), "by digest: {source}");
    let wrong = run(&["plugin", "push", &tag.replace("1.0.0", "9.9.9")]).unwrap_err();
    assert!(wrong.contains("cannot pull"), "{wrong}");
    let bad = run(&["plugin", "push", "oci://"]).unwrap_err();
    assert!(bad.contains("write oci://HOST/REPOSITORY:TAG"), "{bad}");
}
