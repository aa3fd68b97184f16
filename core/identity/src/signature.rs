//! Signatures over components: Ed25519 over the text of their digest, made by whoever answers for
//! them, far from the server.

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use rand::RngExt as _;
use spinor_model::id::Digest;

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// Not the right number of hexadecimal digits, or no point of the curve.
    #[error("{0} is not {1} hexadecimal digits of an Ed25519 {0}")]
    Malformed(&'static str, usize),
    /// It does not fit.
    #[error("the signature is not that of key {0} over digest {1}")]
    Wrong(String, Digest),
}

fn bytes<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], BadSignature> {
    let malformed = || BadSignature::Malformed(what, N * 2);
    let text = text.trim();
    let digits = text.len() == N * 2 && text.is_ascii();
    let byte = |i: usize| u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok();
    let all: Option<Vec<u8>> = if digits { (0..N).map(byte).collect() } else { None };
    all.and_then(|bytes| bytes.try_into().ok()).ok_or_else(malformed)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message(digest: &Digest) -> String {
    format!("spinor component {digest}")
}

/// A fresh pair: the secret key and the public one, in hexadecimal.
pub fn generate() -> (String, String) {
    let seed: [u8; 32] = rand::rng().random();
    let key = SigningKey::from_bytes(&seed);
    (hex(&seed), hex(key.verifying_key().as_bytes()))
}

/// The public key of a secret one, and its signature over a digest, in hexadecimal.
pub fn sign(secret: &str, digest: &Digest) -> Result<(String, String), BadSignature> {
    let key = SigningKey::from_bytes(&bytes("key", secret)?);
    let signature = key.sign(message(digest).as_bytes());
    Ok((hex(key.verifying_key().as_bytes()), hex(&signature.to_bytes())))
}

/// Whether a signature is that of a public key over a digest.
pub fn check(public: &str, signature: &str, digest: &Digest) -> Result<(), BadSignature> {
    let malformed = |_| BadSignature::Malformed("key", 64);
    let key = VerifyingKey::from_bytes(&bytes("key", public)?).map_err(malformed)?;
    let signature = Signature::from_bytes(&bytes("signature", signature)?);
    key.verify(message(digest).as_bytes(), &signature)
        .map_err(|_| BadSignature::Wrong(public.to_owned(), *digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_over_the_right_digest_fits() {
        let (secret, public) = generate();
        let digest = Digest::of(b"component");
        let (signer, signature) = sign(&secret, &digest).unwrap();
        assert_eq!(signer, public);
        assert_eq!(check(&public, &signature, &digest), Ok(()));
        let other = generate().1;
        for (key, digest) in [(&public, Digest::of(b"other")), (&other, digest)] {
            assert!(matches!(check(key, &signature, &digest), Err(BadSignature::Wrong(..))));
        }
        assert!(matches!(
            check("abc", &signature, &digest),
            Err(BadSignature::Malformed("key", 64))
        ));
        assert!(check(&public, "é", &digest).is_err());
    }
}
