//! CE backends over WASM.

use super::{Bond, effect::words};
use crate::{
    bindings::{
        backend::{BackendPre, exports::spinor::computing::backend as wit},
        spool::SpoolPre,
    },
    call,
    capabilities::{pilot_secrets::PilotSecrets, tape::Tape},
    state::HostState,
};
use async_trait::async_trait;
use spinor_model::{
    id::{QueueName, Stamp},
    policy::{
        ComputingBackend, Decider, Effect, Effectful, Exchange, PilotRequest, PilotStatus,
        PilotStream, PolicyError, Room, Spool, Submission,
    },
};
use wasmtime::component::InstancePre;

/// A backend behind the trait.
pub struct Backend {
    pub(super) bond: Bond,
    pre: BackendPre<HostState>,
    pub(super) spool: Option<SpoolPre<HostState>>,
}

impl Backend {
    /// Checks that the hook is there, and looks for the one that need not be.
    pub fn new(bond: Bond, pre: InstancePre<HostState>, spools: bool) -> wasmtime::Result<Self> {
        let spool = spools.then(|| SpoolPre::new(pre.clone())).transpose()?;
        Ok(Self { bond, pre: BackendPre::new(pre)?, spool })
    }
}

/// A hook's call on a fresh instance, by the binding's rules. Arguments are expressions over what
/// the closure owns.
macro_rules! act {
    ($self:ident, $state:expr, $effect:expr, $items:expr, $method:ident($($arg:expr),*)) => {{
        let (pre, settings) = ($self.pre.clone(), $self.bond.settings.clone());
        let acting = $self.bond.act($state, $effect, $items, move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                let backend = instance.spinor_computing_backend();
                backend.$method(store, &settings, $($arg),*).await
            })
        });
        acting.await
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
        attributes: request.attributes.iter().map(attribute).collect(),
    }
}

fn attribute((name, value): (&String, &String)) -> wit::Attribute {
    wit::Attribute { name: name.clone(), value: value.clone() }
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

fn names<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

type Answers<T> = Result<Vec<T>, PolicyError>;

impl Backend {
    fn texts(&self, answers: Vec<Option<wit::Error>>) -> Vec<Option<String>> {
        answers.into_iter().map(|e| e.map(|e| self.bond.answer(e).to_string())).collect()
    }

    async fn rooms(&self, state: HostState, queues: &[QueueName]) -> Answers<wit::Room> {
        let (effect, wanted) = (Effect::Capacity(queues.to_vec()), names(queues));
        act!(self, state, effect, queues.len(), call_capacity(&wanted))
    }

    async fn submissions(
        &self,
        state: HostState,
        pilots: &[PilotRequest],
    ) -> Answers<wit::Submission> {
        let effect = Effect::Submit(pilots.to_vec());
        let requests: Vec<wit::Pilot> = pilots.iter().map(wit_pilot).collect();
        act!(self, state, effect, pilots.len(), call_submit(&requests))
    }

    async fn found(&self, state: HostState, stamps: &[Stamp]) -> Answers<Option<String>> {
        let (effect, wanted) = (Effect::Find(stamps.to_vec()), names(stamps));
        act!(self, state, effect, stamps.len(), call_find(&wanted))
    }

    async fn states(&self, state: HostState, references: &[String]) -> Answers<wit::PilotState> {
        let (effect, wanted) = (Effect::Status(references.to_vec()), references.to_vec());
        act!(self, state, effect, references.len(), call_status(&wanted))
    }

    async fn ended(&self, state: HostState, references: &[String]) -> Answers<Option<wit::Error>> {
        let (effect, wanted) = (Effect::Cancel(references.to_vec()), references.to_vec());
        act!(self, state, effect, references.len(), call_cancel(&wanted))
    }

    async fn freed(&self, state: HostState, references: &[String]) -> Answers<Option<wit::Error>> {
        let (effect, wanted) = (Effect::Clean(references.to_vec()), references.to_vec());
        act!(self, state, effect, references.len(), call_clean(&wanted))
    }
}

#[async_trait]
impl Effectful for Backend {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    async fn again(
        &self,
        effect: &Effect,
        exchanges: &[Exchange],
    ) -> Result<Vec<String>, PolicyError> {
        let state = self.bond.state_of(exchanges);
        Ok(match effect {
            Effect::Capacity(queues) => words(&self.rooms(state, queues).await?),
            Effect::Submit(pilots) => words(&self.submissions(state, pilots).await?),
            Effect::Find(stamps) => words(&self.found(state, stamps).await?),
            Effect::Status(references) => words(&self.states(state, references).await?),
            Effect::Cancel(references) => words(&self.ended(state, references).await?),
            Effect::Clean(references) => words(&self.freed(state, references).await?),
            Effect::Deliver(_) => return Err(self.bond.broken("no backend delivers".to_owned())),
        })
    }
}

#[async_trait]
impl ComputingBackend for Backend {
    fn spool(&self) -> Option<&dyn Spool> {
        self.spool.is_some().then_some(self as &dyn Spool)
    }

    async fn capacity(&self, queues: &[QueueName]) -> Result<Vec<Room>, PolicyError> {
        let rooms = self.rooms(self.bond.state(), queues).await?;
        let room = |(queue, room): (&QueueName, wit::Room)| Room {
            queue: queue.clone(),
            free: room.free,
            waiting: room.waiting,
        };
        Ok(queues.iter().zip(rooms).map(room).collect())
    }

    async fn submit(&self, pilots: &[PilotRequest]) -> Result<Vec<Submission>, PolicyError> {
        let mut state = self.bond.state();
        state.secrets = PilotSecrets::of(pilots);
        Ok(self.submissions(state, pilots).await?.into_iter().map(submission).collect())
    }

    async fn find(&self, stamps: &[Stamp]) -> Result<Vec<Option<String>>, PolicyError> {
        self.found(self.bond.state(), stamps).await
    }

    async fn status(&self, references: &[String]) -> Result<Vec<PilotStatus>, PolicyError> {
        Ok(self.states(self.bond.state(), references).await?.into_iter().map(status).collect())
    }

    async fn cancel(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        Ok(self.texts(self.ended(self.bond.state(), references).await?))
    }

    async fn output(
        &self,
        reference: &str,
        stream: PilotStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, PolicyError> {
        let (pre, settings) = (self.pre.clone(), self.bond.settings.clone());
        let reference = reference.to_owned();
        let wanted = match stream {
            PilotStream::Stdout => wit::OutputStream::Stdout,
            PilotStream::Stderr => wit::OutputStream::Stderr,
            PilotStream::Log => wit::OutputStream::Log,
        };
        let Bond { engine, limits, .. } = &self.bond;
        let mut state = self.bond.state();
        state.tape = Tape::Off;
        let reading = call::effectful(engine, state, limits, "output", move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                let backend = instance.spinor_computing_backend();
                backend.call_output(store, &settings, &reference, wanted, offset, max).await
            })
        });
        let (answer, _) = reading.await;
        self.bond.noted(0, answer)?.map_err(|error| self.bond.answer(error))
    }

    async fn clean(&self, references: &[String]) -> Result<Vec<Option<String>>, PolicyError> {
        Ok(self.texts(self.freed(self.bond.state(), references).await?))
    }
}
