//! Job descriptions in xRSL, as of the "Extended Resource Specification Language" manual of NorduGrid.

use crate::Settings;
use spinor_sdk::{
    batch::{names, script},
    computing::Pilot,
};

/// Files of a pilot in its session directory.
pub const SCRIPT: &str = "pilot.sh";
/// What it writes.
pub const STDOUT: &str = "out";
/// What it complains of.
pub const STDERR: &str = "err";

/// A string: quotes in it are doubled.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The description of a pilot's job. Memory is for each of its slots.
pub fn job(settings: &Settings, pilot: &Pilot) -> String {
    let Pilot { stamp, queue, cores, memory_mib, wall_seconds, .. } = pilot;
    let minutes = wall_seconds.div_ceil(60);
    let cpu_minutes = minutes * u64::from(*cores);
    let memory = memory_mib.div_ceil(u64::from(*cores).max(1));
    let (job_name, queue) = (quoted(&names::name(stamp)), quoted(settings.queue(queue)));
    format!(
        "&(executable=\"{SCRIPT}\")(executables=\"{SCRIPT}\")(inputFiles=(\"{SCRIPT}\" \"\"))(stdout=\"{STDOUT}\")\
         (stderr=\"{STDERR}\")(outputFiles=(\"{STDOUT}\" \"\")(\"{STDERR}\" \"\"))\
         (jobName={job_name})(queue={queue})(count={cores})(countPerNode={cores})\
         (memory={memory})(wallTime=\"{minutes} minutes\")(cpuTime=\"{cpu_minutes} minutes\"){}",
        settings.xrsl
    )
}

/// Several descriptions as one.
pub fn several(described: &[String]) -> String {
    match described {
        [one] => one.clone(),
        several => format!("+{}", several.iter().map(|d| format!("({d})")).collect::<String>()),
    }
}

/// The script that a job waits for.
pub fn script(settings: &Settings, pilot: &Pilot) -> String {
    script::script(&[], ":", pilot, &settings.worker)
}

/// Whether what an operator adds leaves the description whole.
pub fn is_balanced(text: &str) -> bool {
    let (mut depth, mut in_quotes) = (0_i32, false);
    for letter in text.chars() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0 && !in_quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pilot() -> Pilot {
        Pilot {
            stamp: "ab12".to_owned(),
            queue: "it's \"long\"".to_owned(),
            cores: 8,
            memory_mib: 16_001,
            wall_seconds: 3601,
            configuration: "{}".to_owned(),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn memory_is_per_slot_and_quotes_hold() {
        let settings = Settings { xrsl: "(priority=\"10\")".to_owned(), ..Settings::default() };
        let text = job(&settings, &pilot());
        for part in [
            "(queue=\"it's \"\"long\"\"\")",
            "(count=8)(countPerNode=8)(memory=2001)(wallTime=\"61 minutes\")(cpuTime=\"488 minutes\")",
            "(jobName=\"spinor-ab12\")",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.ends_with("(priority=\"10\")"), "{text}");
        assert_eq!(several(&[text.clone(), text.clone()]), format!("+({text})({text})"));
    }

    #[test]
    fn what_is_added_cannot_break_out() {
        assert!(is_balanced("(a=\"(\")(b=c)"));
        for bad in ["(a=\"b)", ")(a=b", "(a=b", "(a=b))"] {
            assert!(!is_balanced(bad), "{bad}");
        }
    }
}
