//! A payload that brings what its job leaves itself.
#![allow(clippy::unwrap_used)]

use super::support::Server;
use serde_json::{Value, json};

/// Packs a file, sends it by a form with the job's token, gives it to the job, and tries others' as well.
const SENDS: &str = r#"
import io, json, os, subprocess, sys, tarfile, time, urllib.error, urllib.request, hashlib
url, job = os.environ["SPINOR_URL"], os.environ["SPINOR_JOB_ID"]
token = open(os.environ["SPINOR_JOB_TOKEN_FILE"]).read().strip()
def call(method, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), method=method)
    request.add_header("Authorization", "Bearer " + token)
    request.add_header("Content-Type", "application/json")
    try:
        return urllib.request.urlopen(request).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code) + " " + error.read().decode()
packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w:bz2") as tar:
    tar.addfile(tarfile.TarInfo("early.txt"))
content = packed.getvalue()
open("early.tar.bz2", "wb").write(content)
info = {"checksum_algorithm": "sha256", "checksum": hashlib.sha256(content).hexdigest(),
    "size": len(content), "format": "tar.bz2"}
output = "/api/jobs/" + job + "/sandbox/output"
form = json.loads(call("POST", "/api/jobs/sandbox", info))
print("unsent", call("PATCH", output, form["pfn"])[:3])
print("others", call("PATCH", output, sys.argv[1])[:3])
fields = [f"-F{name}={value}" for name, value in form["fields"].items()]
subprocess.run(["curl", "-sf", *fields, "-Ffile=@early.tar.bz2", form["url"]], check=True)
print("given", call("PATCH", output, form["pfn"]))
print("again", call("PATCH", output, form["pfn"]))
print("sibling", call("PATCH", "/api/jobs/" + sys.argv[2] + "/sandbox/output", form["pfn"])[:3])
# Of its owner's, which it is not given unless it is sent.
info["checksum"] = sys.argv[1].split("sha256:")[1].split(".")[0]
print("known", json.loads(call("POST", "/api/jobs/sandbox", info))["url"] is not None)
print("submit", call("POST", "/api/jobs/jdl", ["Executable = \"true\";"]))
"#;

/// A payload sends what its job leaves, and nothing else.
pub fn payload_sends(server: &Server) {
    let ada = server.member("lab_user", "ada");
    let ask = |path: &str, body: &str| {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let (_, text) = server.request(method, path, Some(&ada), body);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let digest = spinor_model::id::Digest::of(b"BZh of ada's");
    let brought =
        server.request("PUT", &format!("/api/sandboxes/{digest}"), Some(&ada), "BZh of ada's");
    assert_eq!(brought.0, 204, "{}", brought.1);
    let others = format!("SB:SandboxSE|/S3/spinor/lab/lab_user/ada/sha256:{digest}.tar.bz2");
    let jdl = json!([r#"Executable = "sleep"; Arguments = "600"; Site = "HERE"; CPUTime = 600;"#]);
    let sibling = ask("/api/jobs/jdl", &jdl.to_string())[0]["JobID"].as_i64().unwrap();
    let description = json!({"executable": "python3", "arguments": ["-c", SENDS, others, sibling.to_string()],
        "output_sandbox": ["early.tar.bz2"], "requirements": {"wall_time": 600}});
    let job = server.submit(&description.to_string()).unwrap()[0];
    server.until_status(job, "Done");
    let said = server.printed("ada", job);
    for line in [
        "unsent 403",
        "others 403",
        "given null",
        "again null",
        "sibling 403",
        "known True",
        "submit 403",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("SubmitJobs"), "{said}");
    // Both are the owner's: what the payload sent, and what its pilot brought.
    let names = ask(&format!("/api/jobs/{job}/sandbox/output"), "");
    let names: Vec<&str> =
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let early = names.iter().find(|name| name.ends_with("tar.bz2")).unwrap().replace('|', "%7C");
    let link = ask(&format!("/api/jobs/sandbox?pfn={early}"), "");
    let mut fetch = std::process::Command::new("curl");
    let fetched = fetch.args(["-sf", link["url"].as_str().unwrap()]).output().unwrap();
    assert!(fetched.stdout.starts_with(b"BZh"));
}
