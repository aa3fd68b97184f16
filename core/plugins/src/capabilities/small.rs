//! Capabilities `clock` and `random`.

use crate::{
    bindings::host::spinor::host::{clock, random, types},
    state::HostState,
};
use rand::RngExt as _;

impl types::Host for HostState {}

impl clock::Host for HostState {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        let now = self.capabilities.clock.as_ref().map(|clock| clock.now().0);
        let now = u64::try_from(now.unwrap_or(0)).unwrap_or(0);
        self.tape.exchange("clock.now", &(), async { now }).await
    }
}

impl random::Host for HostState {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let granted = self.capabilities.random;
        let bytes = async move {
            let mut bytes = vec![0; if granted { count.min(4096) as usize } else { 0 }];
            rand::rng().fill(&mut bytes[..]);
            bytes
        };
        self.tape.exchange("random.bytes", &count, bytes).await
    }
}
