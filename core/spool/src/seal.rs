//! Sealing in chunks: ChaCha20-Poly1305 under a key of the file's own. A chunk's nonce is its index and
//! whether it is the last, so that none can be left out, moved or cut off (the STREAM construction).

use crate::{BEGINNING, CHUNK, TAG, inside, size};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, aead::Aead};
use hmac::{Hmac, Mac};
use rand::RngExt as _;
use sha2::Sha256;
use spinor_model::id::Digest;

/// Bytes of a salt.
pub const SALT: usize = 16;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It ends too soon.
    #[error("it ends too soon")]
    Short,
    /// It was not sealed with this key, or was changed.
    #[error("it is not from whom it should be, or was changed on its way")]
    Seal,
    /// There is no line of JSON at its beginning.
    #[error("it does not begin as it should: {0}")]
    Head(String),
}

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The pilot's.
    Request,
    /// The server's.
    Answer,
}

/// The key that a pilot and the server have in common.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// By the hash of the pilot's secret. The server keeps no more of it than that.
    pub fn of(secret_hash: &Digest) -> Self {
        Self(derived(secret_hash.to_string().as_bytes(), &[b"spinor: spool"]))
    }

    fn of_file(&self, side: Side, number: u32, salt: &[u8]) -> ChaCha20Poly1305 {
        let key = derived(&self.0, &[&[side as u8], &number.to_be_bytes(), salt]);
        ChaCha20Poly1305::new(&key.into())
    }
}

fn derived(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let derive = <Hmac<Sha256> as Mac>::new_from_slice(secret);
    // It takes keys of any length.
    let mut derive = derive.unwrap_or_else(|never| unreachable!("{never}"));
    parts.iter().for_each(|part| derive.update(part));
    derive.finalize().into_bytes().into()
}

/// Which chunk it is, of a file with so many bytes inside.
struct Place {
    index: u32,
    done: u64,
    inside: u64,
}

impl Place {
    fn new(inside: u64) -> Self {
        Self { index: 0, done: 0, inside }
    }

    /// The nonce of the next chunk, which has so many bytes inside.
    fn next(&mut self, bytes: usize) -> Result<Nonce, Broken> {
        self.done += bytes as u64;
        let last = self.done == self.inside;
        if self.done > self.inside || (!last && bytes != CHUNK) {
            return Err(Broken::Seal);
        }
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.index.to_be_bytes());
        nonce[4] = u8::from(last);
        self.index += 1;
        Ok(nonce.into())
    }
}

/// Seals a file, chunk by chunk.
pub struct Sealing {
    cipher: ChaCha20Poly1305,
    salt: [u8; SALT],
    place: Place,
}

impl Sealing {
    /// Begins a file with so many bytes inside.
    pub fn begin(key: &Key, side: Side, number: u32, inside: u64) -> Self {
        let salt: [u8; SALT] = rand::rng().random();
        let cipher = key.of_file(side, number, &salt);
        Self { cipher, salt, place: Place::new(inside) }
    }

    /// What stands before the first chunk.
    pub fn beginning(&self) -> Vec<u8> {
        [&size(self.place.inside).to_be_bytes()[..], &self.salt].concat()
    }

    /// The next chunk: [`CHUNK`] bytes, or what is left.
    pub fn chunk(&mut self, plain: &[u8]) -> Result<Vec<u8>, Broken> {
        let nonce = self.place.next(plain.len())?;
        self.cipher.encrypt(&nonce, plain).map_err(|_| Broken::Seal)
    }
}

/// Opens a file, chunk by chunk.
pub struct Opening {
    cipher: ChaCha20Poly1305,
    place: Place,
}

impl Opening {
    /// Begins with what stands before the first chunk.
    pub fn begin(key: &Key, side: Side, number: u32, beginning: &[u8]) -> Result<Self, Broken> {
        let (told, salt) = beginning[..]
            .split_first_chunk()
            .filter(|(_, salt)| salt.len() == SALT)
            .ok_or(Broken::Short)?;
        let told = u64::from_be_bytes(*told);
        if told < (BEGINNING + TAG) as u64 {
            return Err(Broken::Short);
        }
        let cipher = key.of_file(side, number, salt);
        Ok(Self { cipher, place: Place::new(inside(told)) })
    }

    /// The inside of the next chunk.
    pub fn chunk(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let bytes = sealed.len().checked_sub(TAG).ok_or(Broken::Short)?;
        let nonce = self.place.next(bytes)?;
        self.cipher.decrypt(&nonce, sealed).map_err(|_| Broken::Seal)
    }

    /// Whether the last chunk was opened.
    pub fn is_whole(&self) -> bool {
        self.place.index > 0 && self.place.done == self.place.inside
    }
}
