//! Workers as sites have them: behind a proxy, and with other distributions than the server's.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/image.rs"]
mod image;
#[path = "support/real.rs"]
mod real;
#[path = "support/registry.rs"]
mod registry;
mod support;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use real::Real;
use registry::Registry;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};
use support::Server;

/// The CE of `examples/ces/ssh-host.toml`, on this machine; `enter` comes before each pilot's shell.
fn table(sshd: &Real, directory: &Path, enter: &str, worker: &str) -> String {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ces/ssh-host.toml");
    let conf = fs::read_to_string(sshd.path().join("conf")).unwrap();
    let port = conf.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    fs::read_to_string(example)
        .unwrap()
        .replace("/shared/vo", &directory.display().to_string())
        .replace("user = \"vo\"", "user = \"root\"")
        .replace("login.example.org", "127.0.0.1")
        .replace("port = 22", &format!("port = {port}"))
        .replace("ssh-ed25519 AAAA", sshd.printed.trim())
        .replace("max = 4 }", &format!("max = 4, worker = {{ {worker} }} }}"))
        .replace("program = [\"setsid\"]", &format!("program = [{enter}\"setsid\"]"))
}

fn put_key(server: &Server, sshd: &Real) {
    let secrets = server.data().join("secrets/lab");
    fs::create_dir_all(&secrets).unwrap();
    fs::copy(sshd.path().join("id"), secrets.join("cluster-key")).unwrap();
}

/// A server with more configuration at its top, where `PORT` is its own.
fn server_with(top: &str) -> Server {
    let mut server = Server::start();
    let file = server.scratch().join("spinor.toml");
    let text = fs::read_to_string(&file).unwrap();
    let top = top.replace("PORT", server.url().rsplit(':').next().unwrap());
    server.kill();
    fs::write(&file, format!("{top}{text}")).unwrap();
    server.up();
    server
}

const JOB: &str = r#"{"executable": "sh", "arguments": ["-c", "cat in.txt; . /etc/os-release; echo on $VERSION_ID"],
    "input_sandbox": ["in.txt"], "stdout": "out", "output_sandbox": ["out"],
    "requirements": {"wall_time": 600}}"#;

/// What a job printed.
fn output(server: &Server, job: i64) -> String {
    let ada = server.member("lab_user", "ada");
    let to = server.scratch().join(format!("of-{job}"));
    let got =
        server.run(&ada, &["job", "output", &job.to_string(), "--to", &to.display().to_string()]);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    fs::read_to_string(to.join(format!("job-{job}/out"))).unwrap()
}

/// Pilots end before their server does: they would look for it for hours, and other tests count them.
fn until_pilots_end(server: &Server) {
    let ended = |pilot: &serde_json::Value| !pilot["ended"].is_null();
    server.until("its pilots end", || {
        let pilots = server.json(&server.operator(), &["pilot", "list", "--ended", "--vo", "lab"]);
        pilots.as_array().unwrap().iter().all(ended)
    });
}

/// A proxy to which every name is one server; which paths it was asked for.
async fn proxy(server: String) -> (u16, Arc<Mutex<BTreeSet<String>>>) {
    type Asked = Arc<Mutex<BTreeSet<String>>>;
    spinor_plugins::tls::install();
    let asked = Asked::default();
    let forward = |State((server, asked)): State<(String, Asked)>, request: Request| async move {
        let (parts, body) = request.into_parts();
        assert_eq!(parts.uri.host(), Some("spinor.invalid"), "not asked as a proxy");
        let path = parts.uri.path_and_query().unwrap().to_string();
        asked.lock().unwrap().insert(path.clone());
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let to = reqwest::Client::new().request(parts.method, format!("{server}{path}"));
        let answer = to.headers(parts.headers).body(body).send().await.unwrap();
        let mut back = Response::builder().status(answer.status());
        back.headers_mut().unwrap().extend(answer.headers().clone());
        back.body(Body::from(answer.bytes().await.unwrap())).unwrap()
    };
    let app = axum::Router::new().fallback(forward).with_state((server, asked.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (port, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_program_pilot_and_sandboxes_go_through_it() {
    if support::seen_on_sqlite() {
        return;
    }
    // Nobody but the proxy knows such a name.
    let server = tokio::task::block_in_place(|| server_with("url = \"http://spinor.invalid\"\n"));
    let (port, asked) = proxy(server.url()).await;
    tokio::task::block_in_place(|| {
        let (sshd, directory) = (Real::up("sshd", "SSH_PORT"), tempfile::tempdir().unwrap());
        put_key(&server, &sshd);
        let bound = "taskset --pid --cpu-list 0 $$ >/dev/null";
        let worker = format!("preamble = \"export http_proxy=http://127.0.0.1:{port}; {bound}\"");
        let ce = table(&sshd, directory.path(), "", &worker);
        let ce = ce.replace("queues.short = {", "queues.short = { tags = [\"limits:cores\"],");
        server.apply(&support::lab_with("", &ce)).unwrap();
        server.file("in.txt", "hello\n");
        let bound = JOB.replace("{\"wall_time\"", "{\"tags\": \"limits:cores\", \"wall_time\"");
        assert_ne!(bound, JOB);
        let job = server.submit(&bound).unwrap()[0];
        server.until_status(job, "Done");
        assert!(output(&server, job).starts_with("hello\n"));
        until_pilots_end(&server);
    });
    let asked = asked.lock().unwrap();
    for wanted in
        ["/api/pilots/program/", "/api/pilots/start", "/api/pilots/result", "/api/sandboxes/"]
    {
        assert!(asked.iter().any(|path| path.starts_with(wanted)), "{wanted}: {asked:?}");
    }
}

/// A distribution with `packages` in a directory of its own, made once and kept.
fn distribution(suite: &str, packages: &str, more: &str) -> PathBuf {
    let home = std::env::var("HOME").unwrap();
    let cache = std::env::var("SPINOR_TEST_CACHE").unwrap_or(format!("{home}/.cache/spinor-test"));
    let root = Path::new(&cache).join("distributions").join(suite);
    if !root.exists() {
        fs::create_dir_all(root.parent().unwrap()).unwrap();
        let script = r#"set -e
            mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/$')
            rm -rf "$2.new"
            mmdebstrap --quiet --mode=root --variant=minbase --include="$3" ${4:+"$4"} "$1" "$2.new" "$mirror"
            touch "$2.new/etc/hosts"
            mv "$2.new" "$2""#;
        let mut make = Command::new("bash");
        make.args(["-c", script, "-", suite]).arg(&root).args([packages, more]);
        let made = make.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    root
}

/// What comes before a pilot's shell to be in a distribution.
fn enter(root: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/real/enter");
    format!("\"{script}\", \"{}\", ", root.display())
}

/// `SPINOR_TEST_STATIC_PILOT` is the program; see `docs/how-to/reach-a-ce.md`.
#[test]
fn the_static_pilot_runs_on_an_old_and_a_new_distribution() {
    let Ok(program) = std::env::var("SPINOR_TEST_STATIC_PILOT") else { return };
    let server = Server::start_with(&format!("[pilot]\nprogram = \"{program}\"\n"));
    let sshd = Real::up("sshd", "SSH_PORT");
    put_key(&server, &sshd);
    for (suite, version) in [("bullseye", "11"), ("trixie", "13")] {
        let (root, directory) = (distribution(suite, "curl", ""), tempfile::tempdir().unwrap());
        let ce = table(&sshd, directory.path(), &enter(&root), "");
        server.apply(&support::lab_with("", &ce)).unwrap();
        server.file("in.txt", "hello\n");
        let job = server.submit(JOB).unwrap()[0];
        server.until_status(job, "Done");
        assert_eq!(output(&server, job), format!("hello\non {version}\n"));
        until_pilots_end(&server);
    }
}

/// With `SPINOR_TEST_APPTAINER` set: apptainer is in Debian's unstable suite only.
#[test]
fn where_there_is_apptainer_it_runs_images() {
    if std::env::var_os("SPINOR_TEST_APPTAINER").is_none() {
        return;
    }
    let (server, sshd, registry) =
        (Server::start(), Real::up("sshd", "SSH_PORT"), Registry::start());
    put_key(&server, &sshd);
    let late = "--aptopt=Acquire::Check-Valid-Until \"false\"";
    let root = distribution("sid", "curl,apptainer", late);
    let directory = tempfile::tempdir().unwrap();
    // It asks for all that an administrator may, and gets it in a namespace of its own.
    let enter = enter(&root) + r#""unshare", "--user", "--map-root-user", "#;
    let ce = table(&sshd, directory.path(), &enter, "");
    let ce = ce.replace("queues.short = {", "queues.short = { images = true,");
    server.apply(&support::lab_with("", &ce)).unwrap();
    let reference = format!("{}/science/tools:1", registry.host);
    image::publish(&reference);
    server.file("in.txt", "brought along\n");
    let job = server.submit(&image::description(&format!("docker://{reference}"))).unwrap()[0];
    server.until_status(job, "Done");
    assert_eq!(server.printed("ada", job), image::SAID);
    until_pilots_end(&server);
}

/// Prints its bounds, leaves a process behind that has left its group, and fills memory that is no process's.
const FILLS_MEMORY: &str = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat memory.max cpu.max; \
    setsid sleep 4000 & dd if=/dev/zero of=/dev/shm/filled bs=1M count=400; echo never";

/// With `SPINOR_TEST_STATIC_PILOT` as above and `SPINOR_TEST_VM` set: takes `qemu-system-x86`.
#[test]
fn the_kernel_holds_payloads_to_their_memory_where_it_has_control_groups() {
    let (Some(_), Ok(program)) =
        (std::env::var_os("SPINOR_TEST_VM"), std::env::var("SPINOR_TEST_STATIC_PILOT"))
    else {
        return;
    };
    let url = "url = \"http://10.0.2.2:PORT\"\n";
    let server = server_with(&format!("{url}pilot.program = \"{program}\"\n"));
    let (sshd, directory) = (Real::up("sshd", "SSH_PORT"), tempfile::tempdir().unwrap());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    put_key(&server, &sshd);
    let vm = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/real/vm");
    let ce = table(&sshd, directory.path(), &format!("\"{vm}\", "), "");
    let ce = ce.replace(
        "queues.short = {",
        "queues.short = { tags = [\"limits:memory\", \"limits:cores\"],",
    );
    // The second job looks for what the first left behind.
    let ce = ce.replace("max_pilots = 4", "max_pilots = 1");
    server.apply(&support::lab_with("", &ce)).unwrap();
    let job = |script: &str| {
        let description = serde_json::json!({
            "executable": "sh", "arguments": ["-c", script], "stdout": "out",
            "requirements": {"tags": "limits:memory & limits:cores", "wall_time": 600,
                "cpu": {"ram_mb": {"request": 128}}},
        });
        server.submit(&description.to_string()).unwrap()[0]
    };
    let (fills, looks) = (job(FILLS_MEMORY), job("pgrep -f 'sleep 400[0]' || echo nobody"));
    server.until_status(fills, "Failed");
    let shown =
        server.json(&server.member("lab_user", "ada"), &["job", "show", &fills.to_string()]);
    assert!(shown.to_string().contains("overran its memory of 128 MiB"), "{shown}");
    assert_eq!(server.printed("ada", fills), "134217728\n100000 100000\n");
    server.until_status(looks, "Done");
    assert_eq!(server.printed("ada", looks), "nobody\n");
    until_pilots_end(&server);
}
