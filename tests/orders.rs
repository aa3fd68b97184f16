//! Kill and reschedule reach a running payload; limits end it; nobody else's jobs are touched.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::Server;

const SLEEPER: &str = r#"{"executable": "sh", "output_sandbox": ["out"],
    "arguments": ["-c", "echo started; echo $SPINOR_ATTEMPT > out; test $SPINOR_ATTEMPT = 2 || sleep 600"],
    "requirements": {"wall_time": 900, "cpu": {"ram_mb": {"request": 64}}}}"#;

#[test]
fn kill_ends_a_running_payload_and_its_usage_counts() {
    let server = Server::with_lab();
    let job = server.submit(SLEEPER).unwrap()[0];
    server.until_status(job, "Running");
    let ada = server.member("lab_user", "ada");
    server.until("its output is told of", || {
        server.json(&ada, &["job", "logs", &job.to_string()])["stdout_tail"] == "started\n"
    });
    assert!(server.run(&ada, &["job", "kill", &job.to_string()]).status.success());
    assert_eq!(server.status(job), "Killed");
    server.until("the attempt ended", || server.job(job)["attempts"][0]["state"] == "ended");
    server.until("its usage is kept", || server.usage_lines().len() == 1);
    assert_eq!(server.usage_lines()[0]["status"], "Killed");
    let again = server.run(&ada, &["job", "kill", &job.to_string()]);
    assert!(
        String::from_utf8_lossy(&again.stderr)
            .contains("a job that is Killed cannot become Killed")
    );
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn reschedule_makes_a_new_attempt_while_the_old_one_is_ended() {
    let server = Server::with_lab();
    let job = server.submit(SLEEPER).unwrap()[0];
    server.until_status(job, "Running");
    let ada = server.member("lab_user", "ada");
    assert!(server.run(&ada, &["job", "reschedule", &job.to_string()]).status.success());
    server.until_status(job, "Done");
    server.run(&ada, &["job", "output", &job.to_string()]);
    let output = server.scratch().join(format!("job-{job}/out"));
    assert_eq!(std::fs::read_to_string(output).unwrap(), "2\n");
    server.until("both attempts are booked", || server.usage_lines().len() == 2);
    let mut booked: Vec<String> = server
        .usage_lines()
        .iter()
        .map(|line| {
            format!("{} {}", line["id"].as_str().unwrap(), line["status"].as_str().unwrap())
        })
        .collect();
    booked.sort();
    assert_eq!(booked, [format!("{job}.1 Rescheduled"), format!("{job}.2 Done")]);
}

#[test]
fn only_owner_and_administrator_manage_a_job() {
    let server = Server::with_lab();
    let job = server.submit(SLEEPER).unwrap()[0].to_string();
    let grace = server.member("lab_user", "grace");
    let refused = server.run(&grace, &["job", "kill", &job]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not yours to manage"));
    let administrator = server.member("lab_admin", "root");
    assert!(server.run(&administrator, &["job", "kill", &job]).status.success());
}

#[test]
fn a_payload_that_eats_too_much_memory_is_ended() {
    let server = Server::with_lab();
    let job = server
        .submit(
            r#"{"executable": "python3", "arguments": ["-c", "import time; x = bytearray(300 << 20); time.sleep(600)"],
                "requirements": {"wall_time": 900, "cpu": {"ram_mb": {"request": 64, "limit": 128}}}}"#,
        )
        .unwrap()[0];
    server.until_status(job, "Failed");
    let record = server.job(job);
    assert_eq!(record["job"]["minor_status"], "Overran its memory of 128 MiB", "{record:#}");
}

#[test]
fn a_slot_is_filled_with_several_jobs_of_one_owner() {
    let server = Server::with_lab();
    let file = server.file(
        "pair.json",
        r#"{"executable": "sh", "arguments": ["-c", "sleep 600"], "parameters": {"n": {"count": 2}},
            "requirements": {"wall_time": 900, "cpu": {"ram_mb": {"request": 64}}}}"#,
    );
    for user in ["ada", "grace"] {
        let token = server.member("lab_user", user);
        assert!(server.run(&token, &["job", "submit", &file]).status.success());
    }
    let ada = server.member("lab_user", "ada");
    let running = || {
        let jobs = server.json(&ada, &["job", "list", "--status", "Running"]);
        jobs.as_array().unwrap().iter().map(|j| j["owner"].to_string()).collect::<Vec<_>>()
    };
    server.until("two run", || running().len() == 2);
    let owners = running();
    assert_eq!(owners[0], owners[1], "one owner at a time");
}

#[test]
fn two_members_may_have_the_same_sandbox_and_only_their_own() {
    let server = Server::with_lab();
    server.file("same.txt", "the same bytes");
    let file = server.file(
        "job.json",
        r#"{"executable": "cat", "arguments": ["same.txt"], "input_sandbox": ["same.txt"],
            "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#,
    );
    let (ada, grace) = (server.member("lab_user", "ada"), server.member("lab_user", "grace"));
    let first = server.json(&ada, &["job", "submit", &file])["job_ids"][0].as_i64().unwrap();
    server.until_status(first, "Done");
    let (_, sandboxes) = server.request("GET", &format!("/api/jobs/{first}"), Some(&ada), "");
    assert!(sandboxes.contains("Done"));
    let second = server.json(&grace, &["job", "submit", &file])["job_ids"][0].as_i64().unwrap();
    server.until_status(second, "Done");
}

#[test]
fn a_pilot_forgets_its_secret_once_it_is_used() {
    let server = Server::with_lab();
    let job = server.submit(SLEEPER).unwrap()[0];
    server.until_status(job, "Running");
    let pilots = server.data().join("pilots/lab/computing.here");
    let pilot = std::fs::read_dir(&pilots).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(pilot.join("pilot.json")).unwrap();
    assert!(kept.contains("stamp") && !kept.contains("secret"), "{kept}");
    let holds_secret = |name: &str| pilot.join(name).exists();
    assert!(!holds_secret("start-word"));
}

#[test]
fn a_payload_may_write_whatever_bytes_it_likes() {
    let server = Server::with_lab();
    let description = r#"{"executable": "sh", "arguments": ["-c", "printf 'a\\000b'; sleep 1; printf '\\000'"],
        "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}}"#;
    let job = server.submit(description).unwrap()[0];
    server.until_status(job, "Done");
    let named = description.replacen('{', "{\"name\": \"a\\u0000b\",", 1);
    let refused = server.submit(&named).unwrap_err();
    assert!(refused.contains("NUL"), "{refused}");
}
