//! WASI for guests that import it because their toolchain does: a clock that stands still, a
//! generator with a constant seed, no files, sockets or environment; a sleep traps.

use crate::state::HostState;
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, p2::pipe::MemoryOutputPipe,
    random::Deterministic,
};

struct StandingStill;

impl HostWallClock for StandingStill {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StandingStill {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
}

/// What guests get for randomness: the same bytes in every call.
const CONSTANT: &[u8; 16] = b"spinor-constant!";

/// A context that gives nothing away and takes nothing in; `stderr` catches a panic's message.
pub fn inert(stderr: MemoryOutputPipe) -> WasiCtx {
    WasiCtxBuilder::new()
        .stderr(stderr)
        .wall_clock(StandingStill)
        .monotonic_clock(StandingStill)
        .secure_random(Deterministic::new(CONSTANT.to_vec()))
        .insecure_random(Deterministic::new(CONSTANT.to_vec()))
        .insecure_random_seed(u128::from_le_bytes(*CONSTANT))
        .max_random_size(4096)
        .allow_blocking_current_thread(true)
        .build()
}

/// Links WASI for synchronous calls.
pub fn link_sync(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    forbid_sleep(linker)
}

/// Links WASI for async calls.
pub fn link_async(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    forbid_sleep(linker)
}

/// Waiting on a pollable is the one way to sleep; here it is a fault.
fn forbid_sleep(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    for name in ["poll", "[method]pollable.block"] {
        poll.func_new(name, |_, _, _, _| {
            Err(wasmtime::Error::msg("a plugin must not sleep or wait through WASI"))
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
