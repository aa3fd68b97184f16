//! Two engines: pure calls are bounded by fuel and give the same answer everywhere; effectful ones
//! are bounded by time.

use std::{thread, time::Duration};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Length of an epoch.
pub const TICK: Duration = Duration::from_millis(10);

/// Pure instances that may live at a time. A permit is taken before each.
pub const POOL: u32 = 64;

/// Memory that one pure instance may have at most, whatever its limits say.
const POOL_MEMORY: usize = 256 << 20;

/// Bytes of memory and tables that are cleared rather than given back between two calls: giving back costs
/// every core an interrupt. Where the kernel can tell (Linux 6.7), only what was touched is cleared.
const KEPT: usize = 2 << 20;

/// The engines, and the clock that ticks for both.
#[derive(Clone)]
pub struct Engines {
    /// For matching and handling.
    pub pure: Engine,
    /// For computing and accounting.
    pub effectful: Engine,
}

impl Engines {
    /// Makes both and starts their clock, which stops when they are gone.
    pub fn new() -> wasmtime::Result<Self> {
        let engines = Self { pure: Engine::new(&pure())?, effectful: Engine::new(&effectful())? };
        let (pure, effectful) = (engines.pure.weak(), engines.effectful.weak());
        thread::Builder::new().name("spinor-epochs".to_owned()).spawn(move || {
            loop {
                thread::sleep(TICK);
                match (pure.upgrade(), effectful.upgrade()) {
                    (Some(pure), Some(effectful)) => {
                        pure.increment_epoch();
                        effectful.increment_epoch();
                    }
                    _ => return,
                }
            }
        })?;
        Ok(engines)
    }
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}

fn pure() -> Config {
    let mut config = common();
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(POOL)
        .total_core_instances(POOL * 8)
        .total_memories(POOL * 2)
        .total_tables(POOL * 4)
        .total_stacks(POOL)
        .max_memories_per_component(8)
        .max_tables_per_component(20)
        .max_core_instances_per_component(50)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_memory_size(POOL_MEMORY)
        .linear_memory_keep_resident(KEPT)
        .table_keep_resident(KEPT)
        .pagemap_scan(wasmtime::Enabled::Auto);
    config
        .consume_fuel(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .memory_reservation(POOL_MEMORY as u64)
        .memory_guard_size(32 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn effectful() -> Config {
    let mut config = common();
    config.memory_reservation(POOL_MEMORY as u64).memory_guard_size(32 << 20);
    config
}
