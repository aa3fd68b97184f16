//! Guests that misbehave, as components, for tests of the host.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// Misbehaves as its settings say.
pub fn rogue() -> &'static [u8] {
    GUESTS[0].1
}

/// Imports a capability that its kind may not have.
pub fn grabber() -> &'static [u8] {
    GUESTS[1].1
}
