//! What is kept of providers' tokens is sealed: a copy of the database alone does not give them away.

use crate::file::make_once;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, aead::Aead};
use hmac::{Hmac, Mac};
use rand::RngExt as _;
use sha2::Sha256;
use std::{fs, io, path::Path};

/// Seals and opens with a key of this installation.
pub struct Seal(ChaCha20Poly1305);

impl Seal {
    /// With the secret of a file that all servers share; made, readable by its owner alone, if it is
    /// missing.
    pub fn open(file: &Path) -> io::Result<Self> {
        if !file.exists() {
            make_once(file, &rand::rng().random::<[u8; 32]>())?;
        }
        let secret = fs::read(file)?.try_into().ok().and_then(|secret| Self::new(&secret));
        let broken = || io::Error::other(format!("{} does not have 32 bytes", file.display()));
        secret.ok_or_else(broken)
    }

    /// Derives the key from a secret that all servers share.
    fn new(secret: &[u8; 32]) -> Option<Self> {
        let mut derive = <Hmac<Sha256> as Mac>::new_from_slice(secret).ok()?;
        derive.update(b"spinor: tokens of identity providers");
        Some(Self(ChaCha20Poly1305::new(&derive.finalize().into_bytes())))
    }

    /// Seals a text.
    pub fn seal(&self, text: &str) -> Option<String> {
        let nonce: [u8; 12] = rand::rng().random();
        let sealed = self.0.encrypt(&Nonce::from(nonce), text.as_bytes()).ok()?;
        Some(format!("{}{}", hex::encode(nonce), hex::encode(sealed)))
    }

    /// Opens what was sealed here.
    pub fn unseal(&self, sealed: &str) -> Option<String> {
        let bytes = hex::decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(12)?;
        let nonce: [u8; 12] = nonce.try_into().ok()?;
        String::from_utf8(self.0.decrypt(&Nonce::from(nonce), sealed).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_its_own_and_nothing_else() {
        let (own, other) = (Seal::new(&[1; 32]).unwrap(), Seal::new(&[2; 32]).unwrap());
        let sealed = own.seal("a token").unwrap();
        assert!(!sealed.contains("token"));
        assert_eq!(own.unseal(&sealed).as_deref(), Some("a token"));
        assert_eq!(other.unseal(&sealed), None);
        assert_eq!(own.unseal("00"), None);
    }
}
