//! Pilots go where a core-hour costs least carbon: by the grid's carbon intensity, which the VO tells the
//! server as it changes, and by how much of its electricity a site spends on more than computing.

use spinor_sdk::supply::{Facts, Queue, Supply};
use spinor_sdk::{Card, Finding, Plugin, plugin_card, schemars};
use std::collections::BTreeMap;

/// The plugin.
pub struct Green;

/// The fact that it looks for: grams of CO2 equivalent a kWh, of a site.
pub const FACT: &str = "carbon-intensity";

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Power usage effectiveness of sites: all their electricity, over what goes into computing.
    pue: BTreeMap<String, f64>,
    /// The same of sites that are not named.
    usual_pue: f64,
    /// Grams of CO2 equivalent a kWh, of sites of which no fact is told.
    carbon: BTreeMap<String, f64>,
    /// The same of sites that are not named there either.
    usual_carbon: f64,
    /// How much it matters: with 1, half the carbon gets twice the pilots; with 2, four times.
    strength: f64,
    /// Sites that emit more, their PUE counted, get no pilots.
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pue: BTreeMap::new(),
            usual_pue: 1.5,
            carbon: BTreeMap::new(),
            usual_carbon: 400.0,
            strength: 2.0,
            most: None,
        }
    }
}

/// Grams that a kWh of computing costs there.
fn emissions(settings: &Settings, site: &str, facts: &Facts<'_>) -> f64 {
    // Feeds say 0 or less where they have no data.
    let told = facts.get(FACT, site).filter(|grams| *grams > 0.0);
    let told = told.or_else(|| settings.carbon.get(site).copied());
    let carbon = told.unwrap_or(settings.usual_carbon);
    carbon * settings.pue.get(site).copied().unwrap_or(settings.usual_pue)
}

impl Plugin for Green {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("matching/green", "pilots go where electricity is cleanest", []);

    fn golden() -> &'static str {
        include_str!("golden.json")
    }

    fn check(settings: &Settings) -> Vec<Finding> {
        let own = |field: &str, sites: &BTreeMap<String, f64>, least| {
            let field = |site: &String| format!("/{field}/{site}");
            sites.iter().map(move |(site, value)| (field(site), *value, least, f64::MAX)).collect()
        };
        let pue: Vec<_> = own("pue", &settings.pue, 1.0);
        let carbon: Vec<_> = own("carbon", &settings.carbon, 1.0);
        let rest = [
            ("/usual_pue", settings.usual_pue, 1.0, f64::MAX),
            ("/usual_carbon", settings.usual_carbon, 1.0, f64::MAX),
            ("/strength", settings.strength, 0.0, 10.0),
            ("/most", settings.most.unwrap_or(1.0), 1.0, f64::MAX),
        ];
        let rest = rest.map(|(field, value, least, most)| (field.to_owned(), value, least, most));
        let all = rest.into_iter().chain(pue).chain(carbon);
        let wrong = all.filter(|(_, value, least, most)| !(*least..=*most).contains(value));
        wrong
            .map(|(field, value, least, most)| Finding {
                field,
                value: value.to_string(),
                message: match most {
                    f64::MAX => format!("must be {least} or more"),
                    most => format!("must be {least} to {most}"),
                },
            })
            .collect()
    }
}

impl Supply for Green {
    fn weight(settings: &Settings, queue: &Queue, facts: &Facts<'_>) -> f64 {
        let emissions = emissions(settings, &queue.offer.site, facts);
        match settings.most {
            Some(most) if emissions > most => 0.0,
            _ => emissions.powf(-settings.strength),
        }
    }
}

spinor_sdk::export_supply!(Green);
