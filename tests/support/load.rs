//! A load of submissions and matches over HTTP: members who submit, and pilots that ask for work and
//! bring results at once.
#![allow(clippy::unwrap_used, dead_code)]

use crate::support::Server;
use serde_json::{Value, json};
use spinor_identity::{
    subject::{PilotIdentity, Subject},
    token::Keys,
};
use spinor_model::time::{Clock, SystemClock};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A VO whose pilots come from outside.
pub fn document(vo: &str) -> String {
    format!(
        r#"
vo = "{vo}"
[limits]
lease_seconds = 600
[groups.user]
users = ["ada"]
[groups.policies]
users = ["petra"]
properties = ["PolicyManager"]
[sites.HERE]
[ces.here]
site = "HERE"
backend = {{ plugin = "computing/local", grants.process.max = 1 }}
queues.all = {{ cores = 1, memory_mb = 2048, wall_time = 3600, max_pilots = 0 }}
[matching]
plugin = "matching/standard"
[handling.executable]
plugin = "handling/executable"
"#
    )
}

/// The rogue, behaving, under another version number: another component.
pub fn version(number: u32) -> Vec<u8> {
    let text = format!("{}.{}.{}", 1 + number / 100, number / 10 % 10, number % 10);
    let mut bytes = spinor_rogues::rogue().to_vec();
    let mut found = 0;
    for at in 0..bytes.len() - 5 {
        if &bytes[at..at + 5] == b"6.6.6" {
            bytes[at..at + 5].copy_from_slice(text.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "the version stands in the component");
    bytes
}

/// A client; whoever is first chooses the process's cryptography.
pub fn client() -> reqwest::Client {
    spinor_plugins::tls::install();
    reqwest::Client::new()
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A submission of one job.
    Submit,
    /// A question for work.
    Match,
}

/// A request that was answered well.
#[derive(Clone, Copy)]
pub struct Answered {
    /// What.
    pub asked: Asked,
    /// When it was sent.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
}

/// A load under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<Answered>>>,
    failures: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

struct Worker {
    http: reqwest::Client,
    url: String,
    token: String,
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<Answered>>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    async fn post(&self, asked: Option<Asked>, path: &str, body: &Value) -> Option<Value> {
        let at = Instant::now();
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let answer = match request.json(body).send().await {
            Ok(answer) => answer,
            Err(error) => return self.fail(error.to_string()),
        };
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            return self.fail(format!("{path}: {status} {text}"));
        }
        if let Some(asked) = asked {
            self.answered.lock().unwrap().push(Answered { asked, at, took: at.elapsed() });
        }
        serde_json::from_str(&text).ok()
    }

    fn fail(&self, why: String) -> Option<Value> {
        self.failures.lock().unwrap().push(why);
        None
    }

    async fn submit(self) {
        let job = json!({"executable": "true",
            "requirements": {"wall_time": 60, "cpu": {"ram_mb": {"request": 64}}}});
        while !self.stop.load(Ordering::Relaxed) {
            self.post(Some(Asked::Submit), "/api/jobs", &job).await;
        }
    }

    async fn work(self) {
        let slot = json!({"cores": 1, "memory_mb": 2048, "wall_time": 3600,
            "architecture": "x86_64", "owner": null, "holds": []});
        while !self.stop.load(Ordering::Relaxed) {
            let Some(matched) = self.post(Some(Asked::Match), "/api/pilots/match", &slot).await
            else {
                continue;
            };
            let jobs = matched["jobs"].as_array().unwrap();
            if jobs.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            for job in jobs {
                let result = json!({"job": job["job"], "attempt": job["attempt"],
                    "nonce": job["nonce"], "ending": {"how": "exited", "code": 0},
                    "consumption": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "max_memory_mb": 1},
                    "output": null, "missing_outputs": [], "stdout_tail": "", "stderr_tail": ""});
                self.post(None, "/api/pilots/result", &result).await;
            }
        }
    }
}

impl Load {
    /// Starts `members` who submit and `pilots` that work, for one VO.
    pub fn start(server: &Server, vo: &str, members: u32, pilots: u32) -> Self {
        let keys = Keys::existing(&server.data().join("keys/token.jwks"), "test").unwrap();
        let member = server.token(&["--vo", vo, "--group", "user", "--user", "ada"]);
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            failures: Arc::default(),
            tasks: JoinSet::new(),
        };
        let worker = |load: &Self, token: String| Worker {
            http: client(),
            url: server.url(),
            token,
            stop: load.stop.clone(),
            answered: load.answered.clone(),
            failures: load.failures.clone(),
        };
        for _ in 0..members {
            let worker = worker(&load, member.clone());
            load.tasks.spawn(worker.submit());
        }
        for pilot in 0..pilots {
            let subject = Subject::Pilot(PilotIdentity {
                stamp: format!("{vo}-load-{pilot}").parse().unwrap(),
                vo: vo.parse().unwrap(),
                site: "HERE".parse().unwrap(),
                ce: "here".parse().unwrap(),
                queue: "all".parse().unwrap(),
            });
            let lifetime = Duration::from_secs(3600);
            let token = keys.issue(&subject, lifetime, SystemClock.now()).unwrap();
            let worker = worker(&load, token);
            load.tasks.spawn(worker.work());
        }
        load
    }

    /// Ends it; what was answered, after all requests under way, and what was not.
    pub async fn end(mut self) -> (Vec<Answered>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let answered = std::mem::take(&mut *self.answered.lock().unwrap());
        (answered, std::mem::take(&mut *self.failures.lock().unwrap()))
    }

    /// Requests of a sort that were answered so far.
    pub fn count(&self, asked: Asked) -> usize {
        self.answered.lock().unwrap().iter().filter(|a| a.asked == asked).count()
    }
}

/// The latency that `share` of requests of a sort, sent in a window, stay below, in milliseconds.
pub fn quantile(
    answered: &[Answered],
    asked: Asked,
    window: std::ops::Range<Instant>,
    share: f64,
) -> f64 {
    let of_sort = answered.iter().filter(|a| a.asked == asked && window.contains(&a.at));
    let mut times: Vec<f64> = of_sort.map(|a| a.took.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times
        .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}
