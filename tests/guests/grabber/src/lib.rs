//! A rule that reaches for files.

use spinor_sdk::matching::{Class, Offer, Reads, Rule, Verdict};
use spinor_sdk::{Card, Plugin, accounting::directory, plugin_card, schemars};

/// The plugin.
pub struct Grabber;

/// It has none.
#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Settings {}

impl Plugin for Grabber {
    type Settings = Settings;
    const CARD: Card = plugin_card!("matching/grabber", "reaches for files", []);
}

impl Rule for Grabber {
    fn reads(_: &Settings) -> Reads {
        Reads::default()
    }

    fn verdict(_: &Settings, _: &Offer, _: &Class<'_>) -> Verdict {
        Verdict::reject(format!("{:?}", directory::entries()))
    }
}

spinor_sdk::export_rule!(Grabber);
