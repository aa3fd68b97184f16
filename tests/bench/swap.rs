//! Swapping a rule under full load: latencies of submissions and matches, steady and while a fresh
//! version is pushed and bound a hundred times; and how long a swap takes.
//!
//! `cargo bench -p spinor --bench swap`
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/load.rs"]
mod load;
#[path = "../support/mod.rs"]
mod support;

use load::{Asked, Load, quantile};
use serde_json::Value;
use std::{
    ops::Range,
    time::{Duration, Instant},
};
use support::Server;

const STEADY: Duration = Duration::from_secs(20);
const SWAPS: u32 = 100;

/// When the first decision by a digest was made, as often asked as it takes.
async fn first_decision(http: &reqwest::Client, url: &str, operator: &str, digest: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let request = http.get(format!("{url}/api/places")).bearer_auth(operator);
        let places: Vec<Value> = request.send().await.unwrap().json().await.unwrap();
        let versions = places.iter().flat_map(|place| place["versions"].as_array().unwrap());
        let decided = |v: &Value| v["digest"] == digest && v["good"].as_u64().unwrap() > 0;
        if versions.into_iter().any(decided) {
            return;
        }
    }
    panic!("no decision by {digest}");
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn print(
    name: &str,
    asked: Asked,
    answered: &[load::Answered],
    steady: Range<Instant>,
    swaps: Range<Instant>,
) {
    let of = |window: &Range<Instant>, share| quantile(answered, asked, window.clone(), share);
    let rate = |window: &Range<Instant>| {
        let sent = answered.iter().filter(|a| a.asked == asked && window.contains(&a.at)).count();
        sent as f64 / (window.end - window.start).as_secs_f64()
    };
    println!(
        "{name:<8}{:>9.0}{:>9.2}{:>9.2}{:>12.0}{:>9.2}{:>9.2}{:>12.2}",
        rate(&steady),
        of(&steady, 0.5),
        of(&steady, 0.99),
        rate(&swaps),
        of(&swaps, 0.5),
        of(&swaps, 0.99),
        of(&swaps, 0.99) / of(&steady, 0.99)
    );
}

#[tokio::main]
async fn main() {
    let server = Server::start();
    server.apply(&load::document("swap")).unwrap();
    let (operator, http, url) = (server.operator(), load::client(), server.url());
    let load = Load::start(&server, "swap", 2, 4);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let steady_from = Instant::now();
    tokio::time::sleep(STEADY).await;
    let (mut pushes, mut binds, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    let swaps_from = Instant::now();
    for number in 0..SWAPS {
        let started = Instant::now();
        let push = http.post(format!("{url}/api/plugins")).bearer_auth(&operator);
        let pushed = push.body(load::version(number)).send().await.unwrap();
        let pushed: Value = pushed.json().await.unwrap();
        pushes.push(started.elapsed().as_secs_f64() * 1e3);
        let binding = serde_json::json!({"plugin": "matching/rogue",
            "version": format!("={}", pushed["version"].as_str().unwrap()),
            "settings": {"mode": "behave"}});
        let started = Instant::now();
        let bind = http.put(format!("{url}/api/vos/swap/bindings/matching"));
        let bound = bind.bearer_auth(&operator).json(&binding).send().await.unwrap();
        assert!(bound.status().is_success());
        binds.push(started.elapsed().as_secs_f64() * 1e3);
        first_decision(&http, &url, &operator, pushed["digest"].as_str().unwrap()).await;
        firsts.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let swaps_until = Instant::now();
    let (answered, failures) = load.end().await;
    let (steady, swaps) = (steady_from..swaps_from, swaps_from..swaps_until);
    println!(
        "{SWAPS} swaps in {:.1} s, {} requests, {} failed",
        (swaps_until - swaps_from).as_secs_f64(),
        answered.len(),
        failures.len()
    );
    println!(
        "{:<8}{:>9}{:>9}{:>9}{:>12}{:>9}{:>9}{:>12}",
        "", "steady/s", "p50 ms", "p99 ms", "swapping/s", "p50 ms", "p99 ms", "p99 ratio"
    );
    print("match", Asked::Match, &answered, steady.clone(), swaps.clone());
    print("submit", Asked::Submit, &answered, steady, swaps);
    println!(
        "push (compile and try) {:.0} ms, bind {:.1} ms, bind to first decision {:.1} ms (medians); slowest bind {:.0} ms",
        median(&mut pushes),
        median(&mut binds),
        median(&mut firsts),
        binds.last().unwrap()
    );
    assert!(failures.is_empty(), "{failures:?}");
}
