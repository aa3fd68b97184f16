//! Secrets that are handed out once and kept as hashes.

use rand::RngExt as _;
use spinor_model::id::Digest;

/// A fresh secret of 256 bits, as 64 hexadecimal digits.
pub fn fresh() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is kept of a secret. It is random, so a plain hash gives nothing away.
pub fn hash(secret: &str) -> Digest {
    Digest::of(secret.as_bytes())
}
