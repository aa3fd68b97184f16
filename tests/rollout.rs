//! A plugin version's life in an operator's and a policy manager's hands: asked, let in, put back.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::Value;
use support::{LAB, Server};

const QUICK: &str = r#"{"executable": "true",
    "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#;

/// The lab with a second job type, and somebody who manages its policies.
fn lab() -> Server {
    let server = Server::start();
    let more = r#"
[handling.merge]
plugin = "handling/executable"
[groups.lab_policies]
users = ["petra"]
properties = ["NormalUser", "PolicyManager"]
"#;
    server.apply(&format!("{LAB}{more}")).unwrap();
    server
}

fn petra(server: &Server) -> String {
    server.member("lab_policies", "petra")
}

fn of_type(job_type: &str) -> String {
    QUICK.replacen('{', &format!("{{\"type\": \"{job_type}\","), 1)
}

const STARVES: &str = r#"{"avoid": {"merge": ["HERE"]}}"#;

fn ok(server: &Server, token: &str, arguments: &[&str]) -> String {
    let output = server.run(token, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn no(server: &Server, token: &str, arguments: &[&str]) -> String {
    let output = server.run(token, arguments);
    assert!(!output.status.success(), "{arguments:?} worked");
    String::from_utf8(output.stderr).unwrap()
}

fn actions(server: &Server) -> Vec<String> {
    let history = server.json(&petra(server), &["plugin", "history", "lab", "matching"]);
    let entries = history.as_array().unwrap().iter().rev();
    entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_candidate_that_starves_a_job_type_is_found_by_replay_and_rolls_back_by_itself() {
    let server = lab();
    let petra = petra(&server);
    for job_type in ["executable", "merge"] {
        let job = server.submit(&of_type(job_type)).unwrap()[0];
        server.until_status(job, "Done");
    }
    let candidate = ["lab", "matching", "matching/standard", "--settings", STARVES];
    let replay = server.json(&petra, &[&["plugin", "replay"], &candidate[..]].concat());
    let warning = replay["warning"].as_str().unwrap();
    assert!(warning.contains("nothing of job type merge would be taken any more"), "{warning}");
    assert_eq!(replay["placements"], 2, "{replay}");
    assert_eq!(replay["placements_lost"]["HERE"], 1, "{replay}");
    let text = ok(&server, &petra, &[&["plugin", "replay"], &candidate[..]].concat());
    assert!(text.contains("STARVED") && text.contains("WARNING"), "{text}");

    ok(&server, &petra, &[&["plugin", "rollout"], &candidate[..], &["--share", "50"]].concat());
    server.until("it goes by itself", || {
        let places = server.json(&petra, &["plugin", "status", "lab", "matching"]);
        places[0]["rollout"].is_null()
    });
    assert_eq!(actions(&server), ["apply", "rollout", "drift", "rollback"]);
    let history = ok(&server, &petra, &["plugin", "history", "lab"]);
    for told in ["petra", "spinor", "drift", "merge"] {
        assert!(history.contains(told), "{told}: {history}");
    }
    let job = server.submit(&of_type("merge")).unwrap()[0];
    server.until_status(job, "Done");
}

#[test]
fn a_shadow_is_promoted_and_put_back_with_one_command() {
    let server = lab();
    let petra = petra(&server);
    let job = server.submit(QUICK).unwrap()[0];
    server.until_status(job, "Done");
    let prefers = r#"{"prefer": {"merge": ["HERE"]}}"#;
    let candidate = ["lab", "matching", "matching/standard", "--settings", prefers];
    ok(&server, &petra, &[&["plugin", "rollout"], &candidate[..], &["--stage", "shadow"]].concat());
    server.until("what was decided is compared", || {
        let places = server.json(&petra, &["plugin", "status", "lab", "matching"]);
        places[0]["rollout"]["differences"]["compared"].as_u64().unwrap() > 0
    });
    let document = ok(&server, &petra, &["vo", "show", "lab"]);
    assert!(document.contains("stage = \"shadow\""), "{document}");
    ok(&server, &petra, &["plugin", "promote", "lab", "matching"]);
    let document = ok(&server, &petra, &["vo", "show", "lab"]);
    assert!(document.contains("prefer") && !document.contains("candidate"), "{document}");
    ok(&server, &petra, &["plugin", "rollback", "lab", "matching"]);
    let document = ok(&server, &petra, &["vo", "show", "lab"]);
    assert!(!document.contains("prefer"), "{document}");
    let again = no(&server, &petra, &["plugin", "rollback", "lab", "matching"]);
    assert!(again.contains("nothing else was bound"), "{again}");
    let diff = ok(&server, &petra, &["vo", "diff", "lab", "1", "3"]);
    assert!(diff.contains("+prefer") || diff.contains("+[matching.settings.prefer]"), "{diff}");
    assert_eq!(actions(&server), ["apply", "rollout", "promote", "rollback"]);
    let history = server.json(&petra, &["plugin", "history", "lab", "matching"]).to_string();
    let digest = spinor_model::id::Digest::of(spinor_bundle::first_party().last().unwrap());
    assert!(
        history.contains(&format!("matching/standard 0.1.0 ({})", digest.short())),
        "{history}"
    );
}

#[test]
fn a_policy_manager_binds_within_the_grants_and_grants_nothing() {
    let server = lab();
    let petra = petra(&server);
    let settings = r#"{"prefer": {"*": ["HERE"]}}"#;
    ok(
        &server,
        &petra,
        &["plugin", "bind", "lab", "matching", "matching/standard", "--settings", settings],
    );
    let sink = r#"{"plugin": "accounting/files", "grants": {"directory": {"path": "/etc"}}}"#;
    let path = "/api/vos/lab/bindings/accounting.files";
    let (status, body) = server.request("PUT", path, Some(&petra), sink);
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("only an operator grants") && body.contains("directory"), "{body}");
    let more = r#"{"plugin": "computing/local", "grants": {"process": {"max": 50}}}"#;
    let (status, _) =
        server.request("PUT", "/api/vos/lab/bindings/computing.here", Some(&petra), more);
    assert_eq!(status, 403);
    let same = r#"{"plugin": "computing/local", "grants": {"process": {"max": 1}}}"#;
    let (status, body) =
        server.request("PUT", "/api/vos/lab/bindings/computing.here", Some(&petra), same);
    assert_eq!(status, 200, "{body}");
    let ada = server.member("lab_user", "ada");
    let (status, _) = server.request("PUT", path, Some(&ada), sink);
    assert_eq!(status, 403, "a member without the property binds nothing");
    let (status, _) = server.request("PUT", "/api/vos/lab", Some(&petra), LAB);
    assert_eq!(status, 403, "the document is the operator's");
}

#[test]
fn what_is_switched_off_holds_and_comes_on_again() {
    let server = lab();
    let operator = server.operator();
    ok(&server, &operator, &["plugin", "disable", "lab", "matching"]);
    let job = server.submit(QUICK).unwrap()[0];
    server.until("the reason shows", || {
        let ada = server.member("lab_user", "ada");
        let why = server.json(&ada, &["job", "explain", &job.to_string()]).to_string();
        why.contains("`matching` of VO lab is switched off")
    });
    assert_eq!(server.status(job), "Waiting");
    ok(&server, &operator, &["plugin", "rollback", "lab", "matching"]);
    server.until_status(job, "Done");
}

#[test]
fn a_version_that_trips_is_stood_in_for_and_the_history_says_so() {
    let server = lab();
    let petra = petra(&server);
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    let file = rogue.display().to_string();
    let report = server.json(&petra, &["plugin", "inspect", &file]);
    assert_eq!((&report["risk"], &report["kind"]), (&"low".into(), &"matching".into()), "{report}");
    let settings = r#"{"mode": "panic"}"#;
    ok(&server, &petra, &["plugin", "bind", "lab", "matching", &file, "--settings", settings]);
    let job = server.submit(QUICK).unwrap()[0];
    server.until_status(job, "Done");
    server.until("the history tells", || actions(&server).contains(&"trip".to_owned()));
    let attempts = server.job(job)["attempts"].clone();
    assert_eq!(attempts[0]["rule"], "matching/standard 0.1.0", "{attempts}");
    let places = server.json(&petra, &["plugin", "status", "lab", "matching"]);
    assert!(places[0]["decides"].as_str().unwrap().starts_with("matching/standard"), "{places}");
    let text = ok(&server, &petra, &["plugin", "status", "lab", "matching"]);
    assert!(text.contains("tripped") && text.contains("the sky is falling"), "{text}");
}

#[test]
fn poison_holds_its_own_jobs_with_the_reason_and_nobody_elses() {
    let server = lab();
    let petra = petra(&server);
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    let file = rogue.display().to_string();
    let settings = r#"{"mode": "panic", "only": "merge"}"#;
    ok(&server, &petra, &["plugin", "bind", "lab", "matching", &file, "--settings", settings]);
    let good = server.submit(QUICK).unwrap()[0];
    server.until_status(good, "Done");
    let poison = server.submit(&of_type("merge")).unwrap()[0];
    server.until("its owner sees why", || {
        let job = server.job(poison);
        job["job"]["minor_status"]
            .as_str()
            .unwrap()
            .starts_with("Held: matching/rogue 6.6.6 breaks")
    });
    let good = server.submit(QUICK).unwrap()[0];
    server.until_status(good, "Done");
    assert_eq!(server.status(poison), "Waiting");
    server.until("the history tells", || actions(&server).contains(&"quarantine".to_owned()));
    ok(&server, &petra, &["plugin", "rollback", "lab", "matching"]);
    server.until_status(poison, "Done");
}

#[test]
fn a_vo_brings_versions_that_others_do_not_see_and_signs_them() {
    let server = lab();
    let (operator, petra) = (server.operator(), petra(&server));
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    let file = rogue.display().to_string();
    let keys = server.json("", &["plugin", "keygen"]);
    let key = server.file("secret.key", keys["secret"].as_str().unwrap());
    let signing = format!("[signing]\nrequired = true\nkeys.petra = {}\n", keys["public"]);
    let document = ok(&server, &operator, &["vo", "show", "lab"]);
    server.apply(&format!("{document}\n{signing}")).unwrap();

    ok(&server, &petra, &["plugin", "push", &file]);
    let bind = [
        "plugin",
        "bind",
        "lab",
        "matching",
        "matching/rogue",
        "--settings",
        r#"{"mode":"behave"}"#,
    ];
    let refused = no(&server, &petra, &bind);
    assert!(refused.contains("carries no signature of this VO's keys (petra)"), "{refused}");
    ok(&server, &petra, &["plugin", "push", &file, "--key", &key]);
    ok(&server, &petra, &bind);

    let other =
        LAB.replace("vo = \"lab\"", "vo = \"other\"").replace("\"usage\"", "\"usage-other\"");
    server.apply(&other).unwrap();
    let stranger = server.token(&["--vo", "other", "--group", "lab_user", "--user", "ada"]);
    let seen: Value = server.json(&stranger, &["plugin", "list"]);
    assert!(!seen.to_string().contains("matching/rogue"), "{seen}");
    let unseen = no(&server, &operator, &["plugin", "bind", "other", "matching", "matching/rogue"]);
    assert!(unseen.contains("is not here"), "{unseen}");
}

#[test]
fn a_second_installation_runs_the_same_bytes_from_a_lock_file() {
    let first = lab();
    let rogue = first.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    let operator = first.operator();
    let file = rogue.display().to_string();
    ok(
        &first,
        &operator,
        &["plugin", "bind", "lab", "matching", &file, "--settings", r#"{"mode":"behave"}"#],
    );
    let components = first.scratch().join("components").display().to_string();
    let lock = ok(&first, &operator, &["plugin", "lock", "--components", &components]);
    let document = ok(&first, &operator, &["vo", "show", "lab"]);

    let second = Server::start();
    let operator = second.operator();
    let (lock, vo) = (second.file("spinor.lock", &lock), second.file("lab.toml", &document));
    let early = no(&second, &operator, &["apply", &vo, "--lock", &lock]);
    assert!(early.contains("is not here"), "{early}");
    ok(&second, &operator, &["plugin", "push", &components]);
    ok(&second, &operator, &["apply", &vo, "--lock", &lock]);
    let digests = |server: &Server| {
        let bound = server.json(&server.operator(), &["plugin", "list"])["bindings"].clone();
        let digest = |b: &Value| (b["path"].to_string(), b["digest"].to_string());
        bound.as_array().unwrap().iter().map(digest).collect::<Vec<_>>()
    };
    assert_eq!(digests(&first), digests(&second));
}

#[test]
fn gc_takes_what_nothing_needs_and_a_version_never_changes() {
    let server = lab();
    let operator = server.operator();
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    ok(&server, &operator, &["plugin", "push", &rogue.display().to_string()]);
    // The same version in other bytes: a custom section more.
    let mut changed = spinor_rogues::rogue().to_vec();
    changed.extend_from_slice(&[0, 4, 3, b'f', b'o', b'o']);
    let file = server.scratch().join("changed.wasm");
    std::fs::write(&file, changed).unwrap();
    let refused = no(&server, &operator, &["plugin", "push", &file.display().to_string()]);
    assert!(refused.contains("a version is never changed"), "{refused}");
    let would = ok(&server, &operator, &["plugin", "gc", "--dry-run"]);
    assert!(
        would.contains("matching/rogue 6.6.6") && would.contains("would be removed"),
        "{would}"
    );
    ok(&server, &operator, &["plugin", "gc"]);
    let left = server.json(&operator, &["plugin", "list"])["plugins"].to_string();
    assert!(!left.contains("matching/rogue") && left.contains("matching/standard"), "{left}");
}

#[test]
fn what_guests_write_is_for_their_vo() {
    let server = lab();
    let petra = petra(&server);
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    let file = rogue.display().to_string();
    let settings = r#"{"mode": "flood"}"#;
    ok(&server, &petra, &["plugin", "bind", "lab", "matching", &file, "--settings", settings]);
    server.submit(QUICK).unwrap();
    server.until("lines are there, not too many", || {
        let lines = server.json(&petra, &["plugin", "logs", "--limit", "2000"]);
        let count = lines.as_array().unwrap().len();
        assert!(count < 1_500, "{count} lines");
        lines.to_string().contains("line 5")
    });
    let ada = server.member("lab_user", "ada");
    let (status, _) = server.request("GET", "/api/plugins/logs", Some(&ada), "");
    assert_eq!(status, 403);
}

#[test]
fn a_component_made_without_the_sdk_is_pushed_bound_and_measured() {
    let how_to = include_str!("../docs/how-to/write-a-plugin-without-the-sdk.md");
    let code = include_str!("guests/plain/src/lib.rs").replace("../../../wit", "wit");
    assert!(how_to.contains(&code), "the page shows the very code that this test runs");
    let server = lab();
    let petra = petra(&server);
    let plain = server.scratch().join("plain.wasm");
    std::fs::write(&plain, spinor_rogues::plain()).unwrap();
    ok(&server, &petra, &["plugin", "push", &plain.display().to_string()]);
    ok(&server, &petra, &["plugin", "bind", "lab", "matching", "matching/short-first"]);
    let job = server.submit(QUICK).unwrap()[0];
    server.until_status(job, "Done");
    assert_eq!(server.job(job)["attempts"][0]["rule"], "matching/short-first 1.0.0");
    let lines = ok(&server, &petra, &["plugin", "logs"]);
    assert!(lines.contains("classes for HERE"), "{lines}");
    let (_, metrics) = server.request("GET", "/api/metrics", Some(&server.operator()), "");
    let counted = metrics.lines().any(|line| {
        line.starts_with("spinor_plugin_calls_total") && line.contains("matching/short-first")
    });
    assert!(counted, "{metrics}");
}

#[test]
fn a_vo_inherits_what_the_installation_gives_and_cannot_take_it_away() {
    let server = Server::start();
    let operator = server.operator();
    let (head, places) = LAB.split_once("[sites.HERE]").unwrap();
    let file = server.file("installation.toml", &format!("[sites.HERE]{places}"));
    server.apply(head).unwrap();
    ok(&server, &operator, &["installation", &file]);
    let job = server.submit(QUICK).unwrap()[0];
    server.until_status(job, "Done");
    server.until("the installation's sink has it", || server.usage_lines().len() == 1);
    let kept = no(&server, &operator, &["plugin", "bind", "lab", "accounting.files", "--remove"]);
    assert!(kept.contains("is the installation's"), "{kept}");
    let replaced =
        server.apply(&format!("{head}\n[accounting.files]\nplugin = \"accounting/files\""));
    assert!(replaced.unwrap_err().contains("is the installation's"));
    // A default may be replaced, and comes back.
    let prefers = r#"{"prefer": {"*": ["HERE"]}}"#;
    let own = ["plugin", "bind", "lab", "matching", "matching/standard", "--settings", prefers];
    ok(&server, &operator, &own);
    ok(&server, &operator, &["plugin", "bind", "lab", "matching", "--remove"]);
    let bindings = server.json(&operator, &["plugin", "list"])["bindings"].clone();
    assert!(bindings.to_string().contains("\"matching\""), "{bindings}");
    assert!(ok(&server, &operator, &["installation"]).contains("accounting/files"));
}

#[test]
fn a_vo_cannot_bring_a_plugin_under_the_installations_name() {
    let server = lab();
    let (operator, petra) = (server.operator(), petra(&server));
    let rogue = server.scratch().join("rogue.wasm");
    std::fs::write(&rogue, spinor_rogues::rogue()).unwrap();
    ok(&server, &operator, &["plugin", "push", &rogue.display().to_string()]);
    let mut newer = spinor_rogues::rogue().to_vec();
    let at = (0..newer.len() - 5).find(|at| &newer[*at..at + 5] == b"6.6.6").unwrap();
    newer[at..at + 5].copy_from_slice(b"9.9.9");
    std::fs::write(&rogue, newer).unwrap();
    let refused = no(&server, &petra, &["plugin", "push", &rogue.display().to_string()]);
    assert!(refused.contains("is the installation's plugin"), "{refused}");
}

#[test]
fn what_was_granted_once_does_not_come_back_by_itself() {
    let server = lab();
    let operator = server.operator();
    // The earlier binding of the sink had a directory; the one in force has none, and must have.
    let none = server.apply(&LAB.replace("grants.directory.path = \"usage\"\n", ""));
    assert!(
        none.unwrap_err().contains("not granted"),
        "a sink that needs a grant is not bound without"
    );
    let versions = |grant: &str, prefix: &str| {
        let there = "grants.directory.path = \"usage\"";
        let changed = LAB.replace(there, &format!("{grant}\nsettings.prefix = \"{prefix}\""));
        server.apply(&changed).unwrap();
        let places = server.json(&operator, &["plugin", "status", "lab", "accounting.files"]);
        places[0]["versions"].as_array().unwrap().len()
    };
    let (usage, elsewhere) =
        ("grants.directory.path = \"usage\"", "grants.directory.path = \"elsewhere\"");
    assert_eq!(versions(usage, "one"), 2, "earlier settings stand in, under the same grant");
    assert_eq!(versions(elsewhere, "two"), 1, "nothing with the old grant stands in");
}
