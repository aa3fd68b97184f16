//! A rule that misbehaves as its settings say.

use spinor_sdk::matching::{Class, Offer, Reads, Rule, Verdict};
use spinor_sdk::{Card, Finding, Plugin, log, plugin_card, schemars};

use std::sync::atomic::{AtomicI64, Ordering};

static COUNT: AtomicI64 = AtomicI64::new(0);

/// The plugin.
pub struct Rogue;

/// How it misbehaves.
#[derive(serde::Deserialize, schemars::JsonSchema, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all: accepts with score 0.
    Behave,
    /// Never ends.
    Loop,
    /// Panics.
    Panic,
    /// Takes memory until there is none.
    Eat,
    /// Calls itself without end.
    Recurse,
    /// Waits.
    Sleep,
    /// Looks at clock and dice.
    Peek,
    /// Writes without end.
    Flood,
    /// Answers at great length.
    Huge,
    /// Lets a verdict depend on those before it.
    Count,
}

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    mode: Mode,
    /// Settings that it finds fault with only itself.
    #[serde(default)]
    wrong: bool,
    /// Misbehave on jobs of this type alone.
    #[serde(default)]
    only: Option<String>,
}

impl Plugin for Rogue {
    type Settings = Settings;
    const CARD: Card = plugin_card!("matching/rogue", "misbehaves as its settings say", []);

    fn golden() -> &'static str {
        r#"[{"name": "behaves", "settings": {"mode": "behave"},
            "offer": {"site": "A", "ce": "c", "queue": "q", "cores": 1, "memory_mb": 1024,
                "wall_time": 3600, "architecture": "x86_64"},
            "classes": [{"job_type": "user"}], "verdicts": [{"accept": 0}]}]"#
    }

    fn check(settings: &Settings) -> Vec<Finding> {
        let found = || Finding {
            field: "/wrong".to_owned(),
            value: "true".to_owned(),
            message: "is wrong".to_owned(),
        };
        settings.wrong.then(found).into_iter().collect()
    }
}

fn recurse(depth: u64) -> u64 {
    std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + 1 }
}

impl Rule for Rogue {
    fn reads(_: &Settings) -> Reads {
        Reads { class_fields: vec!["job-type"], ..Reads::default() }
    }

    fn verdict(settings: &Settings, _: &Offer, class: &Class<'_>) -> Verdict {
        if settings.only.as_ref().is_some_and(|only| only != class.text("job-type")) {
            return Verdict::Accept(0);
        }
        match settings.mode {
            Mode::Behave => Verdict::Accept(0),
            Mode::Loop => loop {
                std::hint::black_box(0);
            },
            Mode::Panic => panic!("the sky is falling"),
            Mode::Eat => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1u8; 1 << 20]);
                }
            }
            Mode::Recurse => Verdict::Accept(recurse(0) as i64),
            Mode::Sleep => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                Verdict::Accept(0)
            }
            Mode::Peek => {
                let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                let dice: std::collections::HashMap<u8, u8> = (0..9).map(|i| (i, i)).collect();
                let order: Vec<String> = dice.keys().map(u8::to_string).collect();
                Verdict::Reject(format!("{} {}", since.as_nanos(), order.join("")))
            }
            Mode::Huge => Verdict::Reject("x".repeat(32 << 20)),
            Mode::Count => Verdict::Accept(COUNT.fetch_add(1, Ordering::Relaxed)),
            Mode::Flood => {
                for i in 0..1_000_000 {
                    log::write(log::Level::Debug, &format!("line {i}"));
                }
                Verdict::Accept(0)
            }
        }
    }
}

spinor_sdk::export_rule!(Rogue);
