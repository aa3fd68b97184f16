//! A real VOMS authority vouches for the server's proxy: a real ARC CE that lets in by role takes it, and so
//! do payloads.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/real.rs"]
mod real;
mod support;

use real::{Arc, Real};
use std::fs;
use support::Server;

/// Puts what the VO needs where its secrets lie; `robot` is whose certificate it is.
fn put_secrets(server: &Server, voms: &Real, arc: &Arc, robot: &str) {
    let secrets = server.data().join("secrets/lab");
    arc.put_secrets(&secrets);
    fs::copy(voms.told(robot), secrets.join("robot")).unwrap();
    let read = |file: String| fs::read_to_string(file).unwrap();
    let authorities = read(voms.told("VOMS_CA")) + &read(arc.0.told("ARC_CA"));
    fs::write(secrets.join("grid-authorities"), authorities).unwrap();
}

#[test]
fn by_role_an_arc_ce_lets_in_and_payloads_have_a_proxy() {
    if support::seen_on_sqlite() {
        return;
    }
    let voms = Real::up("voms", "VOMS_PORT");
    let directory = voms.path().display().to_string();
    let arc = Arc::up(&[("ARC_VOMS", &directory)]);
    let server = Server::start();
    put_secrets(&server, &voms, &arc, "VOMS_STRANGER_PEM");
    let proxies = format!(
        "[proxies.pilot]\ncertificate = \"robot\"\nvoms = [\"{}\"]\nauthorities = \"grid-authorities\"
         attributes = [\"/auger/Role=pilot\"]\ngroups = [\"lab_user\"]\n",
        voms.told("VOMS_URL")
    );
    server.apply(&support::lab_with(&proxies, &arc.table("arc-voms"))).unwrap();
    let description = r#"{"executable": "sh", "arguments": ["-c", "stat -c %%a $X509_USER_PROXY; voms-proxy-info -all"],
        "stdout": "out", "output_sandbox": ["out", ".proxy*"], "requirements": {"wall_time": 600}}"#;
    let job = server.submit(description).unwrap()[0];
    server.until("nobody is told that VOMS knows no such robot", || {
        let ces = server.json(&server.operator(), &["ce", "list", "--vo", "lab"]);
        ces[0]["why"].as_str().unwrap().contains("NoSuchUser")
    });

    put_secrets(&server, &voms, &arc, "VOMS_ROBOT_PEM");
    server.until_status(job, "Done");
    let ada = server.member("lab_user", "ada");
    let out = server.scratch().join("outputs");
    let got =
        server.run(&ada, &["job", "output", &job.to_string(), "--to", &out.display().to_string()]);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let files: Vec<_> = walk(&out);
    let told =
        fs::read_to_string(files.iter().find(|file| file.ends_with("out")).unwrap()).unwrap();
    for expected in
        ["600\n", "/auger/Role=pilot/Capability=NULL", "CN=A robot", "RFC compliant proxy"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let leaked = files.iter().any(|file| file.to_string_lossy().contains("proxy"));
    assert!(!leaked, "the proxy is among the outputs: {files:?}");
    assert!(!server.log().contains("PRIVATE KEY"));
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
