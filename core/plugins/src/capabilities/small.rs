//! Capabilities `clock` and `random`.

use crate::{
    bindings::host::spinor::host::{clock, random, types},
    state::HostState,
};
use rand::RngExt as _;

impl types::Host for HostState {}

impl clock::Host for HostState {
    async fn now(&mut self) -> u64 {
        let now = self.capabilities.clock.as_ref().map(|clock| clock.now().0);
        u64::try_from(now.unwrap_or(0)).unwrap_or(0)
    }
}

impl random::Host for HostState {
    async fn bytes(&mut self, count: u32) -> Vec<u8> {
        if !self.capabilities.random {
            return Vec::new();
        }
        let mut bytes = vec![0; count.min(4096) as usize];
        rand::rng().fill(&mut bytes[..]);
        bytes
    }
}
