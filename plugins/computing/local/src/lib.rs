//! Pilots on the server's own machine. The host starts them, each in a session of its own that
//! outlives the server; this plugin says which, and puts what the host tells into the CE's terms.

use spinor_sdk::computing::process::{self, ProcessError, ProcessState};
use spinor_sdk::computing::{Backend, OutputStream, Pilot, PilotState, Room, Submission};
use spinor_sdk::{Card, Error, Plugin, plugin_card, schemars};

/// The plugin.
pub struct Local;

/// It has none.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

impl Plugin for Local {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("computing/local", "pilots on the server's own machine", ["process"]);
}

fn error(error: ProcessError) -> Error {
    match error {
        ProcessError::Denied(text) => Error::Settings(text),
        ProcessError::Exhausted(text) => Error::Unavailable(text),
        ProcessError::Other(text) => Error::Other(text),
    }
}

fn submission(pilot: Pilot) -> Submission {
    match process::spawn(&pilot.stamp, &pilot.configuration) {
        Ok(reference) => Submission::Submitted(reference),
        Err(ProcessError::Denied(why) | ProcessError::Exhausted(why)) => Submission::Refused(why),
        Err(ProcessError::Other(why)) => Submission::Unknown(why),
    }
}

fn state(state: ProcessState) -> PilotState {
    match state {
        ProcessState::Running => PilotState::Running,
        ProcessState::Exited(Some(0)) => PilotState::Done,
        ProcessState::Exited(Some(code)) => PilotState::Failed(format!("exit code {code}")),
        ProcessState::Exited(None) => PilotState::Failed("ended without an exit code".to_owned()),
        ProcessState::Unknown => PilotState::Unknown("no such process".to_owned()),
    }
}

impl Backend for Local {
    fn capacity(_: &Settings, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let unlimited = |queue| Room { queue, free: None, waiting: None, running: None };
        Ok(queues.into_iter().map(unlimited).collect())
    }

    fn submit(_: &Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        Ok(pilots.into_iter().map(submission).collect())
    }

    fn find(_: &Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        Ok(process::find(&stamps))
    }

    fn status(_: &Settings, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        Ok(process::states(&references).into_iter().map(state).collect())
    }

    fn cancel(_: &Settings, reference: String) -> Result<(), Error> {
        process::terminate(&reference).map_err(error)
    }

    fn output(
        _: &Settings,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let stream = match stream {
            OutputStream::Stdout => process::OutputStream::Stdout,
            OutputStream::Stderr | OutputStream::Log => process::OutputStream::Stderr,
        };
        process::output(&reference, stream, offset, max).map_err(error)
    }

    fn clean(_: &Settings, reference: String) -> Result<(), Error> {
        process::remove(&reference).map_err(error)
    }
}

spinor_sdk::export_backend!(Local);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_state_is_a_pilot_state() {
        assert!(matches!(state(ProcessState::Running), PilotState::Running));
        assert!(matches!(state(ProcessState::Exited(Some(0))), PilotState::Done));
        assert!(matches!(state(ProcessState::Exited(None)), PilotState::Failed(_)));
        assert!(matches!(state(ProcessState::Exited(Some(3))), PilotState::Failed(_)));
        assert!(matches!(state(ProcessState::Unknown), PilotState::Unknown(_)));
    }
}
