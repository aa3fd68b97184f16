//! CE backends over WASM.

use super::Bond;
use crate::{
    bindings::backend::{BackendPre, exports::spinor::computing::backend as wit},
    call,
    state::HostState,
};
use async_trait::async_trait;
use spinor_model::{
    id::{QueueName, Stamp},
    policy::{
        ComputingBackend, Decider, PilotRequest, PilotStatus, PilotStream, PolicyError, Room,
        Submission,
    },
};
use wasmtime::component::InstancePre;

/// A backend behind the trait.
pub struct Backend {
    bond: Bond,
    pre: BackendPre<HostState>,
}

impl Backend {
    /// Checks that the hook is there.
    pub fn new(bond: Bond, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(Self { bond, pre: BackendPre::new(pre)? })
    }
}

/// One call of the backend on a fresh instance, its own error made ours. Arguments are expressions
/// over what the closure owns.
macro_rules! call {
    ($self:ident, $state:expr, $hook:literal, $method:ident($($arg:expr),*)) => {{
        let (pre, settings) = ($self.pre.clone(), $self.bond.settings.clone());
        let Bond { engine, limits, .. } = &$self.bond;
        let answer = call::effectful(engine, $state, limits, $hook, move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                let backend = instance.spinor_computing_backend();
                backend.$method(store, &settings, $($arg),*).await
            })
        })
        .await;
        let answer = $self.bond.noted(0, answer)?;
        answer.map_err(|error| $self.bond.answer(error))
    }};
}

fn wit_pilot(request: &PilotRequest) -> wit::Pilot {
    wit::Pilot {
        stamp: request.stamp.to_string(),
        queue: request.queue.to_string(),
        cores: request.cores,
        memory_mib: request.memory_mb,
        wall_seconds: request.wall_time,
        configuration: request.configuration.clone(),
        attributes: Vec::new(),
    }
}

fn submission(answer: wit::Submission) -> Submission {
    match answer {
        wit::Submission::Submitted(reference) => Submission::Submitted(reference),
        wit::Submission::Refused(why) => Submission::Refused(why),
        wit::Submission::Unknown(why) => Submission::Unknown(why),
    }
}

fn status(answer: wit::PilotState) -> PilotStatus {
    match answer {
        wit::PilotState::Waiting => PilotStatus::Waiting,
        wit::PilotState::Running => PilotStatus::Running,
        wit::PilotState::Done => PilotStatus::Done,
        wit::PilotState::Failed(why) => PilotStatus::Failed(why),
        wit::PilotState::Aborted(why) => PilotStatus::Aborted(why),
        wit::PilotState::Unknown(why) => PilotStatus::Unknown(why),
    }
}

impl Backend {
    fn texts(&self, answers: Vec<Option<wit::Error>>) -> Vec<Option<String>> {
        answers.into_iter().map(|e| e.map(|e| self.bond.answer(e).to_string())).collect()
    }
}

#[async_trait]
impl ComputingBackend for Backend {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    async fn capacity(&self, queues: &[QueueName]) -> Result<Vec<Room>, PolicyError> {
        let names: Vec<String> = queues.iter().map(ToString::to_string).collect();
        let rooms = call!(self, self.bond.state(), "capacity", call_capacity(&names))?;
        let rooms = self.bond.same_length(rooms, queues.len())?;
        Ok(queues.iter().zip(rooms).map(|(q, r)| Room { queue: q.clone(), free: r.free }).collect())
    }

    async fn submit(&self, pilots: &[PilotRequest]) -> Result<Vec<Submission>, PolicyError> {
        let mut state = self.bond.state();
        state.secrets = pilots.iter().map(|p| (p.stamp.to_string(), p.secret.clone())).collect();
        let requests: Vec<wit::Pilot> = pilots.iter().map(wit_pilot).collect();
        let answers = call!(self, state, "submit", call_submit(&requests))?;
        Ok(self.bond.same_length(answers, pilots.len())?.into_iter().map(submission).collect())
    }

    async fn find(&self, stamps: &[Stamp]) -> Result<Vec<Option<String>>, PolicyError> {
        let names: Vec<String> = stamps.iter().map(ToString::to_string).collect();
        let answers = call!(self, self.bond.state(), "find", call_find(&names))?;
        self.bond.same_length(answers, stamps.len())
    }

    async fn status(&self, references: &[String]) -> Result<Vec<PilotStatus>, PolicyError> {
        let wanted = references.to_vec();
        let answers = call!(self, self.bond.state(), "status", call_status(&wanted))?;
        Ok(self.bond.same_length(answers, references.len())?.into_iter().map(status).collect())
    }

    async fn cancel(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        let wanted = references.to_vec();
        let answers = call!(self, self.bond.state(), "cancel", call_cancel(&wanted))?;
        Ok(self.texts(self.bond.same_length(answers, references.len())?))
    }

    async fn output(
        &self,
        reference: &str,
        stream: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PolicyError> {
        let reference = reference.to_owned();
        let wanted = match stream {
            PilotStream::Stdout => wit::OutputStream::Stdout,
            PilotStream::Stderr => wit::OutputStream::Stderr,
            PilotStream::Log => wit::OutputStream::Log,
        };
        let state = self.bond.state();
        call!(self, state, "output", call_output(&reference, wanted, offset, max))
    }

    async fn clean(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        let wanted = references.to_vec();
        let answers = call!(self, self.bond.state(), "clean", call_clean(&wanted))?;
        Ok(self.texts(self.bond.same_length(answers, references.len())?))
    }
}
