//! What HTCondor says of a job.

use serde::Deserialize;
use spinor_sdk::computing::PilotState;

/// What it is asked for.
pub const ATTRIBUTES: &str = "ClusterId,ProcId,JobStatus,ExitCode,ExitBySignal,ExitSignal,HoldReason,HoldReasonCode,HoldReasonSubCode,RemoveReason,SpinorStamp,SpinorQueue";

/// A job's ClassAd, so far as it is of use. What was never set is left out; what was cleared is null.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ad {
    cluster_id: u64,
    proc_id: u64,
    job_status: u8,
    exit_code: Option<i64>,
    exit_by_signal: Option<bool>,
    exit_signal: Option<i64>,
    hold_reason: Option<String>,
    hold_reason_code: Option<i64>,
    hold_reason_sub_code: Option<i64>,
    remove_reason: Option<String>,
    /// The pilot.
    #[serde(rename = "SpinorStamp", default)]
    pub stamp: String,
    /// Its queue.
    #[serde(rename = "SpinorQueue", default)]
    pub queue: String,
}

/// `HoldReasonCode` of a job that waits for its files, HTCondor's manual, "Job ClassAd attributes".
const SPOOLING: i64 = 16;

impl Ad {
    /// Its place in the queue.
    pub fn job(&self) -> String {
        format!("{}.{}", self.cluster_id, self.proc_id)
    }

    /// Whether it ran to its end.
    pub fn has_ended(&self) -> bool {
        self.job_status == 4
    }

    /// `JobStatus` as a pilot's state: all of the manual's. How it ended counts once it has ended alone;
    /// before, what is there is of an earlier start.
    pub fn state(&self) -> PilotState {
        match self.job_status {
            1 => PilotState::Waiting,
            2 | 6 | 7 => PilotState::Running,
            3 => PilotState::Aborted(
                self.remove_reason.clone().unwrap_or_else(|| "removed".to_owned()),
            ),
            4 => self.end(),
            5 if self.hold_reason_code == Some(SPOOLING) => PilotState::Waiting,
            5 => PilotState::Aborted(format!(
                "held: {} (code {}, subcode {})",
                self.hold_reason.as_deref().unwrap_or("no reason given"),
                self.hold_reason_code.unwrap_or(0),
                self.hold_reason_sub_code.unwrap_or(0),
            )),
            other => PilotState::Unknown(format!("JobStatus {other}")),
        }
    }

    fn end(&self) -> PilotState {
        match (self.exit_by_signal, self.exit_code) {
            (Some(true), _) => {
                PilotState::Failed(format!("ended by signal {}", self.exit_signal.unwrap_or(0)))
            }
            (_, Some(0)) => PilotState::Done,
            (_, code) => PilotState::Failed(format!("exit code {}", code.unwrap_or(-1))),
        }
    }
}

/// A list as `-json` prints it: nothing at all for none.
pub fn read(text: &str) -> Result<Vec<Ad>, String> {
    match text.trim() {
        "" => Ok(Vec::new()),
        text => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(fields: &str) -> PilotState {
        let text = format!("[\n{{\"ClusterId\": 27, \"ProcId\": 1, {fields}}}\n]\n");
        let ads = read(&text).unwrap();
        assert_eq!(ads[0].job(), "27.1");
        ads[0].state()
    }

    #[test]
    fn what_is_stale_is_not_believed() {
        let running = state(r#""JobStatus": 2, "ExitBySignal": true, "ExitSignal": 15"#);
        assert_eq!(running, PilotState::Running);
        let done = state(
            r#""JobStatus": 4, "ExitCode": 0, "HoldReason": null, "HoldReasonCode": null, "ExitBySignal": false"#,
        );
        assert_eq!(done, PilotState::Done);
        let failed = state(r#""JobStatus": 4, "ExitCode": 3"#);
        assert_eq!(failed, PilotState::Failed("exit code 3".to_owned()));
    }

    #[test]
    fn a_hold_is_an_end_unless_files_are_on_their_way() {
        let spooling =
            r#""JobStatus": 5, "HoldReason": "Spooling input data files", "HoldReasonCode": 16"#;
        assert_eq!(state(spooling), PilotState::Waiting);
        let PilotState::Aborted(why) = state(
            r#""JobStatus": 5, "HoldReason": "via condor_hold (by user griduser)", "HoldReasonCode": 1, "HoldReasonSubCode": 42"#,
        ) else {
            panic!()
        };
        assert_eq!(why, "held: via condor_hold (by user griduser) (code 1, subcode 42)");
        assert_eq!(read("").unwrap().len(), 0);
        assert_eq!(read("[\n]\n").unwrap().len(), 0);
    }
}
