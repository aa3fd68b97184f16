//! A rule is swapped a hundred times while jobs are submitted and matched at full speed.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/load.rs"]
mod load;
mod support;

use load::{Asked, Load};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::Server;

const VERSIONS: u32 = 10;
const SWAPS: u32 = 100;

fn milliseconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A swap: which digest, and between when and when it became active.
struct Swap {
    digest: String,
    asked: i64,
    done: i64,
}

fn attempts(server: &Server) -> Vec<(i64, String)> {
    let (operator, mut after, mut found) = (server.operator(), 0, Vec::new());
    loop {
        let path = format!("/api/attempts?vo=swap&after={after}");
        let (status, body) = server.request("GET", &path, Some(&operator), "");
        assert_eq!(status, 200, "{body}");
        let page: Vec<Value> = serde_json::from_str(&body).unwrap();
        let Some(last) = page.last() else { return found };
        after = last["job_id"].as_i64().unwrap();
        for attempt in &page {
            let claimed: jiff::Timestamp = attempt["claimed"].as_str().unwrap().parse().unwrap();
            let digest = attempt["rule_digest"].as_str().unwrap().to_owned();
            found.push((claimed.as_millisecond(), digest));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_lose_no_request_and_mix_no_versions() {
    let server = Server::start();
    server.apply(&load::document("swap")).unwrap();
    let operator = server.operator();
    let load = Load::start(&server, "swap", 1, 2);
    for number in 0..VERSIONS {
        let file = server.scratch().join(format!("v{number}.wasm"));
        std::fs::write(&file, load::version(number)).unwrap();
        server.json(&operator, &["plugin", "push", &file.display().to_string()]);
    }
    let http = load::client();
    let mut swaps: Vec<Swap> = Vec::new();
    for number in 0..SWAPS {
        let version = number % VERSIONS;
        let version = format!("={}.{}.{}", 1 + version / 100, version / 10 % 10, version % 10);
        let binding = serde_json::json!({"plugin": "matching/rogue", "version": version,
            "settings": {"mode": "behave"}});
        let asked = milliseconds();
        let url = format!("{}/api/vos/swap/bindings/matching", server.url());
        let answer = http.put(url).bearer_auth(&operator).json(&binding).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let applied: Value = answer.json().await.unwrap();
        let bound = applied["bindings"].as_array().unwrap().iter();
        let digest = bound.clone().find(|b| b["path"] == "matching").unwrap()["digest"].clone();
        let digest = digest.as_str().unwrap().to_owned();
        swaps.push(Swap { digest, asked, done: milliseconds() });
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let (answered, failures) = load.end().await;
    assert!(failures.is_empty(), "{failures:?}");
    let matches = answered.iter().filter(|a| a.asked == Asked::Match).count();
    assert!(matches > 100, "{matches} matches");
    // A claim was decided by what was in force at some moment of its request: after the swap to it
    // began, and before the next one had been over for longer than any request took.
    let longest = answered.iter().map(|a| a.took).max().unwrap().as_millis() as i64 + 50;
    let attempts = attempts(&server);
    let decided = attempts.iter().filter(|(claimed, _)| *claimed > swaps[0].done + longest);
    let mut versions = std::collections::BTreeSet::new();
    for (claimed, digest) in decided {
        versions.insert(digest);
        let fits = swaps.iter().enumerate().any(|(i, swap)| {
            let until = swaps.get(i + 1).map_or(i64::MAX, |next| next.done + longest);
            swap.digest == *digest && swap.asked <= *claimed && *claimed <= until
        });
        assert!(fits, "at {claimed} {digest} was not in force");
    }
    assert_eq!(versions.len(), VERSIONS as usize, "every version decided something");
}
