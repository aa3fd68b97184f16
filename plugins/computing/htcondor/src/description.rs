//! Submit descriptions, and what comes of them.

use crate::Settings;
use spinor_sdk::computing::{Pilot, gpus, scratch_mib};

/// What all pilots of a submission have in common. `xcount`, `maxMemory` and `maxWallTime` are what an
/// HTCondor-CE's routes read.
const COMMON: &str = r#"universe = vanilla
executable = /bin/sh
transfer_executable = false
arguments = $(stamp).sh
transfer_input_files = $(stamp).sh
transfer_output_files = ""
should_transfer_files = YES
when_to_transfer_output = ON_EXIT
request_cpus = $(cores)
request_memory = $(memory)
My.xcount = $(cores)
My.maxMemory = $(memory)
My.maxWallTime = $(minutes)
My.SpinorStamp = "$(stamp)"
My.SpinorQueue = "$(queue_name)"
My.remote_queue = "$(queue_name)"
leave_in_queue = JobStatus == 4 && (StageOutFinish ?: 0) == 0 && time() - EnteredCurrentStatus < 604800
periodic_remove = (JobStatus == 1 && NumJobStarts > 0) || (JobStatus == 5 && HoldReasonCode == 16 && time() - EnteredCurrentStatus > 3600) || (JobStatus == 2 && time() - EnteredCurrentStatus > 60 * $(minutes) + 3600)
"#;

/// A description of pilots: each is a job of one cluster, in their order.
pub fn of(settings: &Settings, pilots: &[Pilot]) -> String {
    let mut text = COMMON.to_owned();
    for (what, file) in [("output", "out"), ("error", "err")] {
        text.push_str(&format!("{what} = {}\n", settings.file("$(stamp)", file)));
    }
    // All are one queue's.
    let first = pilots.first();
    for (what, amount) in
        [("gpus", first.map_or(0, gpus)), ("disk", first.map_or(0, scratch_mib) * 1024)]
    {
        if amount > 0 {
            text.push_str(&format!("request_{what} = {amount}\n"));
        }
    }
    for line in &settings.submit {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("queue stamp,cores,memory,minutes,queue_name from (\n");
    for pilot in pilots {
        let Pilot { stamp, queue, cores, memory_mib, wall_seconds, .. } = pilot;
        let minutes = wall_seconds.div_ceil(60);
        text.push_str(&format!("{stamp} {cores} {memory_mib} {minutes} {queue}\n"));
    }
    text.push_str(")\n");
    text
}

/// Jobs as `condor_submit -terse` names them: `5.0 - 5.2`.
pub fn jobs(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.trim().split_once(" - ")?;
    let (cluster, first) = first.split_once('.')?;
    let (same, last) = last.split_once('.')?;
    let numbers = first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?;
    (cluster == same).then(|| numbers.map(|number| format!("{cluster}.{number}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_from_the_first_to_the_last() {
        assert_eq!(jobs("5.0 - 5.2\n").unwrap(), ["5.0", "5.1", "5.2"]);
        assert_eq!(jobs("7.0 - 7.0").unwrap(), ["7.0"]);
        for bad in ["", "5.0", "5.0 - 6.1", "ERROR - x.y"] {
            assert_eq!(jobs(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_pilot_is_a_line_and_has_its_own_files() {
        let pilot = Pilot {
            stamp: "ab12".to_owned(),
            queue: "short".to_owned(),
            cores: 2,
            memory_mib: 2000,
            wall_seconds: 3601,
            configuration: "{}".to_owned(),
            attributes: Vec::new(),
        };
        let settings = Settings {
            pool: None,
            schedd: None,
            directory: "/var/spool/spinor/".to_owned(),
            submit: vec!["+Owner = undefined".to_owned()],
            worker: Default::default(),
        };
        let text = of(&settings, &[pilot]);
        assert!(text.contains("\noutput = /var/spool/spinor/spinor-$(stamp).out\n"), "{text}");
        let end = "+Owner = undefined\nqueue stamp,cores,memory,minutes,queue_name from (\nab12 2 2000 61 short\n)\n";
        assert!(text.ends_with(end), "{text}");
    }
}
