//! The first-party plugins as components, embedded so that the binary works alone.

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The components that every installation has.
pub fn first_party() -> impl Iterator<Item = &'static [u8]> {
    GUESTS.iter().filter(|(package, _)| package.starts_with("spinor-plugin-")).map(|(_, c)| *c)
}

/// The components that a package of `examples/plugins` makes.
pub fn example(package: &str) -> Option<&'static [u8]> {
    GUESTS.iter().find(|(name, _)| *name == package).map(|(_, component)| *component)
}

/// Every package of `examples/plugins` with its component.
pub fn examples() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    GUESTS.iter().copied().filter(|(package, _)| package.starts_with("example-"))
}
