//! The jobs run by plugins alone: taking one binding away stops exactly its step, with a reason.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::Server;

const QUICK: &str = r#"{"executable": "true",
    "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#;

fn without(place: &str) -> Server {
    let server = Server::with_lab();
    let operator = server.operator();
    let removed = server.run(&operator, &["plugin", "bind", "lab", place, "--remove"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    server
}

fn put_back(server: &Server, place: &str, plugin: &str) {
    let bound = server.run(&server.operator(), &["plugin", "bind", "lab", place, plugin]);
    assert!(bound.status.success(), "{}", String::from_utf8_lossy(&bound.stderr));
}

fn why(server: &Server, job: i64) -> String {
    let ada = server.member("lab_user", "ada");
    server.json(&ada, &["job", "explain", &job.to_string()]).to_string()
}

#[test]
fn without_a_rule_jobs_wait() {
    let server = without("matching");
    let job = server.submit(QUICK).unwrap()[0];
    server.until("the reason shows", || {
        why(&server, job).contains("no plugin is bound to `matching` in VO lab")
    });
    assert_eq!(server.status(job), "Waiting");
    put_back(&server, "matching", "matching/standard");
    server.until_status(job, "Done");
}

#[test]
fn without_a_backend_no_pilots_are_sent() {
    let server = without("computing.here");
    let job = server.submit(QUICK).unwrap()[0];
    server.until("the reason shows", || {
        why(&server, job).contains("no plugin is bound to `computing.here`")
    });
    assert_eq!(server.status(job), "Waiting");
}

#[test]
fn without_a_handler_nothing_is_admitted_but_what_runs_is_concluded() {
    let server = Server::with_lab();
    let slow = QUICK.replace("\"true\"", "\"sleep\", \"arguments\": [\"2\"]");
    let job = server.submit(&slow).unwrap()[0];
    let operator = server.operator();
    server.run(&operator, &["plugin", "bind", "lab", "handling.executable", "--remove"]);
    let refused = server.submit(QUICK).unwrap_err();
    assert!(refused.contains("no plugin is bound to `handling.executable` in VO lab"), "{refused}");
    server.until_status(job, "Done");
}

#[test]
fn without_a_sink_usage_waits_and_nothing_else() {
    let server = without("accounting.files");
    let job = server.submit(QUICK).unwrap()[0];
    server.until_status(job, "Done");
    let (status, sinks) = server.request("GET", "/api/sinks", Some(&server.operator()), "");
    assert_eq!(status, 200);
    assert!(sinks.contains("no plugin is bound to `accounting.SINK` in VO lab"), "{sinks}");
    assert!(server.usage_lines().is_empty());
    let binding = r#"{"plugin": "accounting/files", "grants": {"directory": {"path": "usage"}}}"#;
    let path = "/api/vos/lab/bindings/accounting.files";
    let (status, answer) = server.request("PUT", path, Some(&server.operator()), binding);
    assert_eq!(status, 200, "{answer}");
    server.until("it gets what had waited", || server.usage_lines().len() == 1);
}

#[test]
fn a_job_is_concluded_by_what_planned_it_even_after_a_swap_and_a_restart() {
    let mut server = Server::with_lab();
    let slow = QUICK.replace("\"true\"", "\"sleep\", \"arguments\": [\"3\"]");
    let job = server.submit(&slow).unwrap()[0];
    server.until_status(job, "Running");
    let settings = r#"{"retry_delay_seconds": 7}"#;
    let arguments = [
        "plugin",
        "bind",
        "lab",
        "handling.executable",
        "handling/executable",
        "--settings",
        settings,
    ];
    assert!(server.run(&server.operator(), &arguments).status.success());
    server.kill();
    server.up();
    server.until_status(job, "Done");
}

#[test]
fn a_component_that_is_gone_stops_its_own_step_alone() {
    let mut server = Server::with_lab();
    let operator = server.operator();
    let listed = server.json(&operator, &["plugin", "list"])["bindings"].clone();
    let matching = listed.as_array().unwrap().iter().find(|b| b["path"] == "matching").unwrap();
    let digest = matching["digest"].as_str().unwrap().to_owned();
    server.kill();
    // An embedded one would come back: a file of the same name that is not the component stays.
    let blob = server.data().join("components").join(&digest[..2]).join(&digest);
    std::fs::write(&blob, b"broken").unwrap();
    server.up();
    let job = server.submit(QUICK).unwrap()[0];
    server.until("the reason shows", || {
        why(&server, job).contains("no plugin is bound to `matching` in VO lab")
    });
    assert_eq!(server.status(job), "Waiting", "it was admitted: the handler is there");
}

#[test]
fn pilots_go_where_the_power_is_clean() {
    let ce = |name: &str, site: &str| {
        format!(
            "[ces.{name}]\nsite = \"{site}\"\nbackend = {{ plugin = \"computing/local\", grants.process.max = 4 }}
             queues.all = {{ cores = 1, memory_mb = 512, wall_time = 3600, max_pilots = 2 }}\n"
        )
    };
    let more = "[supply]\nplugin = \"matching/green\"\nsettings.most = 500\n[sites.COAL]\n";
    let ces = ce("wind", "SITE") + &ce("coal", "COAL");
    let server = Server::start();
    server.apply(&support::lab_with(more, &ces)).unwrap();
    let petra = server.token(&["--vo", "lab", "--group", "lab_admin", "--user", "root"]);
    let tell = ["fact", "tell", "carbon-intensity", "SITE=20", "COAL=900", "--vo", "lab"];
    assert!(!server.run(&petra, &tell).status.success(), "administrators of jobs steer no pilots");
    let told = server.json(&server.operator(), &tell);
    assert_eq!(told[0]["value"], 900.0);
    let nonsense = server.run(&server.operator(), &["fact", "tell", "x", "SITE=much"]);
    let said = String::from_utf8(nonsense.stderr).unwrap();
    assert!(said.contains("`much` is no number"), "{said}");

    let jobs = [0; 6].map(|_| server.submit(QUICK).unwrap()[0]);
    for job in jobs {
        server.until_status(job, "Done");
    }
    let ces = server.json(&server.operator(), &["ce", "list", "--vo", "lab"]);
    let coal = ces.as_array().unwrap().iter().find(|ce| ce["ce"] == "coal").unwrap();
    assert_eq!(coal["sent"], 0);
    let pilots = server.json(&server.operator(), &["pilot", "list", "--ended", "--vo", "lab"]);
    assert!(pilots.as_array().unwrap().iter().all(|pilot| pilot["ce"] == "wind"), "{pilots}");
}
