//! Whether a slot suits a requirement, and if not, why: the part of matching that no VO decides.

use crate::{offer::Offer, registry::IMAGES, requirement::Requirement};
use std::{collections::BTreeSet, fmt::Display};

/// The first condition that keeps a job from a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{condition}: asks {asked}, the slot has {offered}")]
pub struct Misfit {
    /// The requirement's field.
    pub condition: &'static str,
    /// What the job asks.
    pub asked: String,
    /// What the slot has.
    pub offered: String,
}

/// Checks a requirement against an offer; the cores that the job gets if it fits.
pub fn fit(asked: &Requirement, offer: &Offer) -> Result<u32, Misfit> {
    let cores = &asked.cpu.num_cores;
    at_least("cpu.num_cores", u64::from(cores.min), u64::from(offer.cores))?;
    at_least("cpu.ram_mb", asked.cpu.ram_mb.request, offer.memory_mb)?;
    at_least("wall_time", asked.wall_seconds(offer.power), offer.wall_time)?;
    at_least("gpu.count", u64::from(asked.gpus()), u64::from(offer.gpus))?;
    at_least("io.scratch_mb", asked.io.scratch_mb, offer.scratch_mb)?;
    if !asked.sites.is_empty() && !asked.sites.contains(&offer.site) {
        return misfit("sites", names(&asked.sites), &offer.site);
    }
    if asked.banned_sites.contains(&offer.site) {
        return misfit("banned_sites", format!("not {}", names(&asked.banned_sites)), &offer.site);
    }
    if !asked.ces.is_empty() && !asked.ces.contains(&offer.ce) {
        return misfit("ces", names(&asked.ces), &offer.ce);
    }
    if let Some(wanted) = asked.cpu.architecture.as_ref().filter(|a| **a != offer.architecture) {
        return misfit("cpu.architecture", wanted.clone(), &offer.architecture);
    }
    if let Some(wanted) = asked.tags.as_ref().filter(|tags| !tags.holds(&offer.tags)) {
        let tags = offer.tags.iter().cloned().collect::<Vec<_>>().join(", ");
        return misfit(
            "tags",
            wanted.to_string(),
            if tags.is_empty() { "none".into() } else { tags },
        );
    }
    if let Some(image) = asked.image.as_ref().filter(|_| !offer.tags.contains(IMAGES)) {
        return misfit("image", image.to_string(), "nothing that runs images");
    }
    Ok(cores.max().min(offer.cores))
}

fn names(set: &BTreeSet<impl Display>) -> String {
    set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

fn at_least(condition: &'static str, asked: u64, offered: u64) -> Result<(), Misfit> {
    if offered >= asked {
        Ok(())
    } else {
        misfit(condition, asked.to_string(), offered).map(|_| ())
    }
}

fn misfit(condition: &'static str, asked: String, offered: impl ToString) -> Result<u32, Misfit> {
    Err(Misfit { condition, asked, offered: offered.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer() -> Offer {
        serde_json::from_str(
            r#"{"site": "NORTH", "ce": "c", "queue": "q", "cores": 4, "memory_mb": 4096,
                "wall_time": 3600, "architecture": "x86_64", "tags": ["cvmfs"]}"#,
        )
        .unwrap()
    }

    fn check(requirement: &str) -> Result<u32, Misfit> {
        fit(&serde_json::from_str(requirement).unwrap(), &offer())
    }

    #[test]
    fn gives_cores_greedily_up_to_the_maximum() {
        let ask = |c: &str| check(&format!(r#"{{"wall_time": 60, "cpu": {{"num_cores": {c}}}}}"#));
        assert_eq!(ask(r#"{"min": 1}"#), Ok(1));
        assert_eq!(ask(r#"{"min": 1, "max": 3}"#), Ok(3));
        assert_eq!(ask(r#"{"min": 1, "max": 64}"#), Ok(4));
    }

    #[test]
    fn names_the_condition() {
        for (requirement, text) in [
            (r#"{"cpu":{"num_cores":{"min":8}}}"#, "cpu.num_cores: asks 8, the slot has 4"),
            (r#"{"cpu":{"ram_mb":{"request":9999}}}"#, "cpu.ram_mb: asks 9999, the slot has 4096"),
            (r#"{"wall_time":7200}"#, "wall_time: asks 7200, the slot has 3600"),
            (r#"{"wall_time":9,"gpu":{"count":1}}"#, "gpu.count: asks 1, the slot has 0"),
            (r#"{"wall_time":9,"sites":["A","B"]}"#, "sites: asks A or B, the slot has NORTH"),
            (r#"{"wall_time":9,"ces":["a","b"]}"#, "ces: asks a or b, the slot has c"),
            (
                r#"{"wall_time":9,"banned_sites":["NORTH"]}"#,
                "banned_sites: asks not NORTH, the slot has NORTH",
            ),
            (
                r#"{"wall_time":9,"cpu":{"architecture":"aarch64"}}"#,
                "cpu.architecture: asks aarch64, the slot has x86_64",
            ),
            (
                r#"{"wall_time":9,"image":"docker://x/y:1"}"#,
                "image: asks docker://x/y:1, the slot has nothing that runs images",
            ),
            (r#"{"wall_time":9,"tags":"~cvmfs"}"#, "tags: asks ~cvmfs, the slot has cvmfs"),
        ] {
            assert_eq!(check(requirement).unwrap_err().to_string(), text);
        }
    }

    proptest! {
        /// Classes are on the safe side: what fits by classes fits exactly.
        #[test]
        fn fits_exactly_if_it_fits_by_class(
            wall in 1u64..100_000, memory in 1u64..9_000, cores in 1u32..9, left in 1u64..100_000,
        ) {
            let mut asked = Requirement { wall_time: wall, ..Requirement::default() };
            asked.cpu.ram_mb.request = memory;
            asked.cpu.num_cores.min = cores;
            let offer = Offer { wall_time: left, ..offer() };
            if fit(&asked.class(), &offer.class()).is_ok() {
                prop_assert!(fit(&asked, &offer).is_ok());
            }
        }
    }
}
