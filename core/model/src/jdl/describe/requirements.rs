//! What a JDL asks of slots.

use super::Reading;
use crate::{offer::default_power, requirement::MAX_WORK, tags::TagExpression};
use serde_json::json;

/// CPU work that a job may take if its JDL does not say, in HS06 seconds.
const DEFAULT_WORK: i64 = 86_400;

/// MiB that a slot must have if the JDL does not say.
const DEFAULT_RAM: i64 = 512;
/// MiB that no job reaches.
const NO_LIMIT: i64 = 10_000_000;

impl Reading<'_> {
    /// What the jobs ask of slots, as JSON.
    pub(super) fn requirements(&mut self) -> serde_json::Value {
        let work = self.number("CPUTime", 1..=MAX_WORK as i64).unwrap_or(DEFAULT_WORK);
        let mut cpu = json!({"work": work});
        let mut tags = self.jdl.list("Tags");
        tags.extend(self.jdl.list("Tag"));
        let (min, max) = self.cores(&mut tags);
        let whole = self.truth("WholeNode");
        let max = if whole { 1024 } else { max };
        cpu["num_cores"] = json!({"min": min, "max": max});
        // MinRAM is what a slot must have; a job is ended only for using more than its MaxRAM.
        let request = self.number("MinRAM", 1..=10_000_000);
        // In GB, as DIRAC's earlier JDLs have it.
        let memory = self.number("Memory", 1..=10_000).map(|gigabytes| gigabytes * 1024);
        let request = request.or(memory).unwrap_or(DEFAULT_RAM);
        let limit = self.number("MaxRAM", 1..=10_000_000);
        if let Some(limit) = limit.filter(|limit| *limit < request) {
            self.wrong("MaxRAM", limit, format!("is less than MinRAM, {request}"));
        }
        cpu["ram_mb"] = json!({"request": request, "limit": limit.unwrap_or(NO_LIMIT)});
        // What rules see; slots are asked for the time that the work takes on them.
        let wall_time = work.unsigned_abs().div_ceil(default_power().into());
        let mut requirements = json!({"wall_time": wall_time, "cpu": cpu});
        if whole {
            tags.push("WholeNode".to_owned());
        }
        for tag in &tags {
            if let Err(error) = tag.parse::<TagExpression>() {
                self.wrong("Tags", tag, error.to_string());
            }
        }
        if !tags.is_empty() {
            requirements["tags"] = json!(tags.join(" & "));
        }
        let any = |site: &String| !site.eq_ignore_ascii_case("any");
        let named: Vec<String> = self.jdl.list("Site").into_iter().filter(any).collect();
        let banned = self.jdl.list("BannedSites");
        let sites: Vec<&String> = named.iter().filter(|site| !banned.contains(site)).collect();
        if sites.is_empty() && !named.is_empty() {
            self.wrong("BannedSites", banned.join(", "), "bans all sites that Site names");
        }
        if !sites.is_empty() {
            requirements["sites"] = json!(sites);
        } else if !banned.is_empty() {
            requirements["banned_sites"] = json!(banned);
        }
        let ces: Vec<String> = self.jdl.list("GridCE").into_iter().filter(any).collect();
        if !ces.is_empty() {
            requirements["ces"] = json!(ces);
        }
        let platform = self.jdl.list("Platform").join(",");
        if !platform.is_empty() && any(&platform) {
            requirements["attributes"] = json!({"platform": platform});
        }
        requirements
    }

    fn truth(&mut self, name: &str) -> bool {
        let said = self.jdl.list(name).join(",").to_lowercase();
        match said.as_str() {
            "true" | "yes" | "1" => true,
            "" | "false" | "no" | "0" => false,
            _ => {
                self.wrong(name, said, "must be true or false");
                false
            }
        }
    }

    /// How many cores, at least and at most. Tags that DIRAC gives to jobs of several cores say no more than that.
    fn cores(&mut self, tags: &mut Vec<String>) -> (i64, i64) {
        tags.retain(|tag| !tag.eq_ignore_ascii_case("MultiProcessor"));
        let number = |tag: &String| tag.strip_suffix("Processors")?.parse().ok();
        let tagged: Option<i64> =
            tags.extract_if(.., |tag| number(tag).is_some()).filter_map(|tag| number(&tag)).max();
        let fixed = self.number("NumberOfProcessors", 1..=1024);
        let min = fixed.or(self.number("MinNumberOfProcessors", 1..=1024)).or(tagged).unwrap_or(1);
        let max = fixed.or(self.number("MaxNumberOfProcessors", 1..=1024)).unwrap_or(min);
        if max < min {
            self.wrong(
                "MaxNumberOfProcessors",
                max,
                format!("is less than MinNumberOfProcessors, {min}"),
            );
        }
        (min, max)
    }
}
