//! Guests that misbehave, as components, for tests of the host.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// Misbehaves as its settings say.
pub fn rogue() -> &'static [u8] {
    GUESTS[0].1
}

/// A good rule, made without the SDK.
pub fn plain() -> &'static [u8] {
    GUESTS[2].1
}

/// A good rule on a later contract.
pub fn next() -> &'static [u8] {
    GUESTS[3].1
}

/// Imports a capability that its kind may not have.
pub fn grabber() -> &'static [u8] {
    GUESTS[1].1
}

/// A sink that sends the requests of its settings.
pub fn courier() -> &'static [u8] {
    GUESTS[4].1
}
