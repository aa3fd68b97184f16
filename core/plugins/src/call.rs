//! A call into a guest: a fresh store, bounded, traced, its faults named.

use crate::{
    capabilities::tape::Tape,
    limits::{Limits, fault},
    state::{Caller, Capabilities, HostState},
};
use spinor_model::policy::{Fault, PolicyError};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use wasmtime::{Engine, Store};

/// A pure call, on the calling thread.
pub fn pure<R>(
    engine: &Engine,
    caller: &Arc<Caller>,
    limits: &Limits,
    hook: &'static str,
    call: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<R>,
) -> Result<R, PolicyError> {
    let started = Instant::now();
    let state = HostState::new(caller.clone(), Capabilities::default(), limits);
    let mut store = Store::new(engine, state);
    let result = limits.arm(&mut store).and_then(|()| call(&mut store));
    let fuel = limits.fuel - store.get_fuel().unwrap_or(limits.fuel);
    let result = result.map_err(|error| fault(&error, store.data(), limits));
    finish(caller, hook, started.elapsed(), Some(fuel), result)
}

/// What an effectful call does with its store.
pub type Calling<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// An effectful call, and what passed between it and the world. When it is cut off, its store is
/// dropped with it.
pub async fn effectful<R: Send>(
    engine: &Engine,
    state: HostState,
    limits: &Limits,
    hook: &'static str,
    call: impl for<'a> FnOnce(&'a mut Store<HostState>) -> Calling<'a, R> + Send,
) -> (Result<R, PolicyError>, Tape) {
    let started = Instant::now();
    let caller = state.caller.clone();
    let mut store = Store::new(engine, state);
    limits.arm_effectful(&mut store);
    let result = match tokio::time::timeout(limits.deadline(), call(&mut store)).await {
        Ok(result) => result.map_err(|error| fault(&error, store.data(), limits)),
        Err(_) => Err(Fault::Deadline(limits.deadline_ms)),
    };
    let tape = std::mem::take(&mut store.data_mut().tape);
    (finish(&caller, hook, started.elapsed(), None, result), tape)
}

fn finish<R>(
    caller: &Caller,
    hook: &'static str,
    took: Duration,
    fuel: Option<u64>,
    result: Result<R, Fault>,
) -> Result<R, PolicyError> {
    let (vo, plugin) = (caller.vo(), &caller.plugin);
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let outcome = match &result {
        Ok(_) => "ok",
        Err(Fault::Trap(_)) => "trap",
        Err(Fault::Fuel(_)) => "fuel",
        Err(Fault::Deadline(_)) => "deadline",
        Err(Fault::Memory(_)) => "memory",
        Err(Fault::Contract(_)) => "contract",
    };
    caller.measure(hook, outcome, took);
    match result {
        Ok(answer) => {
            tracing::debug!(target: "spinor::call", vo, plugin, hook, outcome, duration_us, fuel);
            Ok(answer)
        }
        Err(fault) => {
            tracing::warn!(target: "spinor::call", vo, plugin, hook, outcome, duration_us, fuel, %fault);
            Err(PolicyError::Fault { plugin: plugin.clone(), fault })
        }
    }
}

impl Caller {
    /// Counts a call, with labels of bounded sets: never a job, never an input.
    fn measure(&self, hook: &'static str, outcome: &'static str, took: Duration) {
        let Some(vo) = &self.vo else { return };
        let (plugin, version) = self.plugin.split_once(' ').unwrap_or((&self.plugin, ""));
        let labels = [
            ("vo", vo.to_string()),
            ("plugin", plugin.to_owned()),
            ("version", version.to_owned()),
            ("hook", hook.to_owned()),
        ];
        let mut outcomes = labels.to_vec();
        outcomes.push(("outcome", outcome.to_owned()));
        metrics::counter!("spinor_plugin_calls_total", &outcomes).increment(1);
        metrics::histogram!("spinor_plugin_call_seconds", &labels).record(took.as_secs_f64());
    }
}
