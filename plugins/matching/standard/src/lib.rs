//! The rule for VOs without special wishes: the tightest fit first, so that large slots stay free
//! for large jobs, and sites that the VO prefers or avoids for a type of job.

use spinor_sdk::matching::{Class, Offer, Reads, Rule, Verdict};
use spinor_sdk::{Card, Finding, Plugin, plugin_card, schemars};
use std::collections::BTreeMap;

/// The plugin.
pub struct Standard;

/// A job type's sites; `*` stands for every job type that is not named.
type SitesByType = BTreeMap<String, Vec<String>>;

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Sites that jobs of a type go to first.
    prefer: SitesByType,
    /// Sites that jobs of a type never go to.
    avoid: SitesByType,
}

/// Outweighs any difference in fit.
const PREFERRED: i64 = 1 << 40;

fn names(sites: &SitesByType, job_type: &str, site: &str) -> bool {
    let list = sites.get(job_type).or_else(|| sites.get("*"));
    list.is_some_and(|sites| sites.iter().any(|s| s == site))
}

/// 0 for an exact fit, less for each core and each GiB that would lie idle.
fn tightness(offer: &Offer, class: &Class<'_>) -> i64 {
    let idle_cores =
        i64::from(offer.cores) - class.integer("cores-max").min(i64::from(offer.cores));
    let idle_memory = (offer.memory_mib as i64 - class.integer("memory-mib")).max(0);
    -(idle_cores * 1024 + idle_memory / 1024)
}

impl Plugin for Standard {
    type Settings = Settings;
    const CARD: Card = plugin_card!(
        "matching/standard",
        "the tightest fit first; sites preferred or avoided by job type",
        []
    );

    fn golden() -> &'static str {
        include_str!("golden.json")
    }

    fn check(settings: &Settings) -> Vec<Finding> {
        let both = settings.prefer.iter().flat_map(|(job_type, sites)| {
            let contradicts = |site: &&String| names(&settings.avoid, job_type, site);
            sites.iter().filter(contradicts).map(move |site| Finding {
                field: format!("/prefer/{job_type}"),
                value: format!("\"{site}\""),
                message: "is avoided as well; take it out of one of the two".to_owned(),
            })
        });
        both.collect()
    }
}

impl Rule for Standard {
    fn reads(_: &Settings) -> Reads {
        let class_fields = vec!["job-type", "cores-max", "memory-mib"];
        Reads { class_fields, ..Reads::default() }
    }

    fn verdict(settings: &Settings, offer: &Offer, class: &Class<'_>) -> Verdict {
        let job_type = class.text("job-type");
        if names(&settings.avoid, job_type, &offer.site) {
            return Verdict::reject(format!("jobs of type {job_type} avoid site {}", offer.site));
        }
        let preferred = names(&settings.prefer, job_type, &offer.site);
        Verdict::Accept(tightness(offer, class) + if preferred { PREFERRED } else { 0 })
    }
}

spinor_sdk::export_rule!(Standard);

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_sdk::matching::bindings::spinor::matching::types::{Batch, Column, ColumnValues};

    fn offer(site: &str, cores: u32) -> Offer {
        Offer {
            site: site.to_owned(),
            ce: "ce".to_owned(),
            queue: "q".to_owned(),
            cores,
            memory_mib: 4096,
            gpus: 0,
            wall_seconds: 3600,
            architecture: "x86_64".to_owned(),
            tags: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn batch(job_type: &str, cores: i64) -> Batch {
        let integers = |name: &str, value| Column {
            name: name.to_owned(),
            values: ColumnValues::Integers(vec![value]),
        };
        let texts = Column { name: "job-type".to_owned(), values: ColumnValues::Texts(vec![0]) };
        let columns = vec![texts, integers("cores-max", cores), integers("memory-mib", 1024)];
        Batch { rows: 1, dictionary: vec![job_type.to_owned()], columns }
    }

    fn score(settings: &Settings, offer: &Offer, batch: &Batch) -> i64 {
        match Standard::verdict(settings, offer, &Class::new(batch, 0)) {
            Verdict::Accept(score) => score,
            Verdict::Reject(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn the_tighter_fit_scores_higher() {
        let settings = Settings::default();
        let (small, large) = (batch("user", 1), batch("user", 8));
        assert!(
            score(&settings, &offer("A", 8), &large) > score(&settings, &offer("A", 8), &small)
        );
        assert!(
            score(&settings, &offer("A", 1), &small) > score(&settings, &offer("A", 8), &small)
        );
    }

    #[test]
    fn settings_prefer_and_avoid() {
        let sites = |job_type: &str, site: &str| [(job_type.into(), vec![site.into()])].into();
        let settings = Settings { prefer: sites("*", "B"), avoid: sites("merge", "A") };
        let user = batch("user", 1);
        assert!(score(&settings, &offer("B", 8), &user) > score(&settings, &offer("A", 1), &user));
        let merge = batch("merge", 1);
        let verdict = Standard::verdict(&settings, &offer("A", 1), &Class::new(&merge, 0));
        assert_eq!(verdict, Verdict::reject("jobs of type merge avoid site A"));
    }

    #[test]
    fn a_contradiction_is_found_when_bound() {
        let settings = r#"{"prefer": {"user": ["A"]}, "avoid": {"*": ["A"]}}"#;
        let findings = spinor_sdk::validate::<Standard>(settings);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].field, "/prefer/user");
    }
}
