//! What a call may use. Every refusal names its knob.

use spinor_model::policy::Fault;
use std::time::Duration;
use wasmtime::{ResourceLimiter, Store, Trap};

use crate::{engine::TICK, state::HostState};

/// What a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All memories of an instance together, in MiB.
    pub memory_mb: u64,
    /// Instructions of a pure call, about. A small rule uses some 5,000 a class.
    pub fuel: u64,
    /// Wall time of a call, in milliseconds.
    pub deadline_ms: u64,
    /// Bytes that a guest may hand to the host in one call.
    pub answer_bytes: usize,
}

impl Limits {
    /// For matching and handling: a page of 10,000 parameters takes some 50 million units.
    pub const PURE: Self =
        Self { memory_mb: 64, fuel: 1_000_000_000, deadline_ms: 5_000, answer_bytes: 16 << 20 };

    /// For computing and accounting.
    pub const EFFECTFUL: Self =
        Self { memory_mb: 64, fuel: u64::MAX, deadline_ms: 30_000, answer_bytes: 16 << 20 };

    /// Wall time of a call.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Ticks of the epoch clock until the deadline.
    pub fn ticks(&self) -> u64 {
        let tick = u64::try_from(TICK.as_millis()).unwrap_or(1);
        self.deadline_ms.div_ceil(tick) + 1
    }

    /// Arms a store of a pure call.
    pub fn arm(&self, store: &mut Store<HostState>) -> wasmtime::Result<()> {
        self.bound(store);
        store.set_fuel(self.fuel)?;
        store.set_epoch_deadline(self.ticks());
        Ok(())
    }

    /// Arms a store of an effectful call: it yields at each tick, so that its caller's timeout
    /// holds.
    pub fn arm_effectful(&self, store: &mut Store<HostState>) {
        self.bound(store);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
    }

    fn bound(&self, store: &mut Store<HostState>) {
        store.limiter(|state| &mut state.budget);
        store.set_hostcall_fuel(self.answer_bytes);
        store.set_max_component_handles(1_000);
    }
}

/// Memory that an instance has, summed over all its memories.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: usize,
    table_elements: usize,
    exceeded: bool,
}

const MAX_TABLE_ELEMENTS: usize = 100_000;

impl Budget {
    /// A budget of `memory_mb` MiB.
    pub fn new(memory_mb: u64) -> Self {
        let limit = usize::try_from(memory_mb << 20).unwrap_or(usize::MAX);
        Self { limit, used: 0, table_elements: 0, exceeded: false }
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        self.exceeded |= used > self.limit;
        if used <= self.limit {
            self.used = used;
        }
        Ok(used <= self.limit)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.table_elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        self.exceeded |= self.table_elements > MAX_TABLE_ELEMENTS;
        Ok(self.table_elements <= MAX_TABLE_ELEMENTS)
    }
}

/// Says how a call broke, from what wasmtime reports and what the store saw.
pub fn fault(error: &wasmtime::Error, state: &HostState, limits: &Limits) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => Fault::Fuel(limits.fuel),
        Some(Trap::Interrupt) => Fault::Deadline(limits.deadline_ms),
        _ if state.budget.exceeded => Fault::Memory(limits.memory_mb),
        _ => {
            let last_words = state.last_words();
            let cause = match trap {
                Some(trap) => trap.to_string(),
                None => error.root_cause().to_string(),
            };
            let cause = cause.lines().next().unwrap_or_default().to_owned();
            Fault::Trap(if last_words.is_empty() {
                cause
            } else {
                format!("{cause}: {last_words}")
            })
        }
    }
}
