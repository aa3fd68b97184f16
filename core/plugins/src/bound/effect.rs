//! What effectful bindings share: a call out there, recorded, and the same call on a recording.

use super::Bond;
use crate::{
    bindings::host::spinor::host::types,
    call::{self, Calling},
    capabilities::tape::Tape,
    state::HostState,
};
use spinor_model::{
    policy::{Answer, Effect, Exchange, PolicyError, Question},
    time::micros,
};
use std::{fmt::Debug, time::Instant};
use wasmtime::Store;

/// What a hook answers: an item each, or that the whole could not be done.
pub type Items<I> = Result<Vec<I>, types::Error>;

/// An answer's items in words.
pub fn words<I: Debug>(items: &[I]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

impl Bond {
    /// The state of a call on what was recorded.
    pub fn state_of(&self, exchanges: &[Exchange]) -> HostState {
        let mut state = self.state();
        state.tape = Tape::Playing(exchanges.to_vec());
        state
    }

    /// Makes a call. One out there counts for the breaker and is recorded; one on a recording does
    /// neither.
    pub async fn act<I: Debug + Send>(
        &self,
        state: HostState,
        effect: Effect,
        items: usize,
        call: impl for<'a> FnOnce(&'a mut Store<HostState>) -> Calling<'a, Items<I>> + Send,
    ) -> Result<Vec<I>, PolicyError> {
        let live = matches!(state.tape, Tape::Recording { .. });
        let started = Instant::now();
        let Self { engine, limits, .. } = self;
        let (answer, tape) = call::effectful(engine, state, limits, effect.as_str(), call).await;
        let answer = answer.and_then(|answer| match answer {
            Ok(answers) => self.same_length(answers, items).map(Ok),
            Err(error) => Ok(Err(error)),
        });
        let answer = if live { self.noted(0, answer)? } else { answer? };
        let answer = answer.map_err(|error| self.answer(error));
        if let Some(exchanges) = tape.recorded() {
            let question = Question::Effect { effect, exchanges };
            let said = answer.as_ref().map(|items| words(items)).map_err(ToString::to_string);
            self.decided(question, Answer::Effect(said), micros(started));
        }
        answer
    }
}
