//! A sink that sends the requests that its settings name, and writes down what came of them.

use spinor_sdk::accounting::http::{self, Request};
use spinor_sdk::accounting::{Ack, Sink, UsageRecord, secret};
use spinor_sdk::{Card, Error, Plugin, log, plugin_card, schemars};

/// The plugin.
pub struct Courier;

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to send for each batch.
    requests: Vec<Wanted>,
    /// How often.
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

/// A request.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Wanted {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

impl Plugin for Courier {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("accounting/courier", "sends what it is told", ["http", "secret"]);
}

impl Sink for Courier {
    fn deliver(settings: &Settings, records: Vec<UsageRecord>) -> Result<Vec<Ack>, Error> {
        for _ in 1..settings.times {
            settings.requests.iter().for_each(|wanted| drop(send(wanted)));
        }
        for wanted in &settings.requests {
            log::write(log::Level::Info, &send(wanted));
        }
        Ok(vec![Ack::Stored; records.len()])
    }
}

fn send(wanted: &Wanted) -> String {
    let answer = http::send(&Request {
        method: wanted.method.clone(),
        url: wanted.url.clone(),
        headers: wanted.headers.clone(),
        body: Vec::new(),
        timeout_ms: 2_000,
        identity: None,
    });
    let names = secret::names();
    match answer {
        Ok(answer) => {
            format!("{}: {} {names:?}", answer.status, String::from_utf8_lossy(&answer.body))
        }
        Err(error) => format!("{error:?}"),
    }
}

spinor_sdk::export_sink!(Courier);
