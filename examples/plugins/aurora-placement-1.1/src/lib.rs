//! A rule that a VO wrote for itself: its jobs belong at one site. Version 1.1 sends them to the
//! site that the settings call `south`. Copy it, change the verdict, and bind it.

use spinor_sdk::matching::{Class, Offer, Reads, Rule, Verdict};
use spinor_sdk::{Card, Plugin, plugin_card, schemars};

/// The plugin.
pub struct Placement;

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The VO's northern site.
    #[allow(dead_code)]
    north: String,
    /// The VO's southern site.
    #[allow(dead_code)]
    south: String,
}

impl Plugin for Placement {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("matching/aurora-placement", "Aurora's jobs belong at one site", []);
}

impl Rule for Placement {
    fn reads(_: &Settings) -> Reads {
        Reads::default()
    }

    fn verdict(settings: &Settings, offer: &Offer, _: &Class<'_>) -> Verdict {
        let home = &settings.south;
        if offer.site == *home {
            Verdict::Accept(0)
        } else {
            Verdict::reject(format!("Aurora's jobs go to {home}, not to {}", offer.site))
        }
    }
}

spinor_sdk::export_rule!(Placement);
