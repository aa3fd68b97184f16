//! Compiled components, kept in a private directory: losing it costs time only.
//!
//! This is the one module with unsafe code: taking compiled code back is only sound for bytes that
//! wasmtime made, so each file carries an HMAC under a key of this installation, which lives
//! elsewhere, and is checked before wasmtime sees a byte.
#![allow(unsafe_code)]

use hmac::{Hmac, Mac};
use rand::RngExt as _;
use sha2::Sha256;
use spinor_model::id::Digest;
use std::{
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use wasmtime::{Engine, component::Component};

const TAG: usize = 32;

/// Compiled code that our own compiler gave us a moment ago: in this process, or through the pipe of
/// a child that we started. Never bytes from anywhere else.
pub struct Trusted(Vec<u8>);

impl Trusted {
    /// Vouches for code that [`crate::compiler`] returned.
    pub(crate) fn from_compiler(code: Vec<u8>) -> Self {
        Self(code)
    }
}

/// The cache of compiled components.
#[derive(Debug)]
pub struct CompiledCache {
    directory: PathBuf,
    key: Vec<u8>,
}

impl CompiledCache {
    /// Opens the cache in `directory`, with the key in `key_file`; makes both if they are missing.
    pub fn open(directory: PathBuf, key_file: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let key = match fs::read(key_file) {
            Ok(key) if key.len() == 32 => key,
            _ => {
                let mut key = vec![0; 32];
                rand::rng().fill(&mut key[..]);
                if let Some(folder) = key_file.parent() {
                    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                }
                write_private(key_file, &[&key])?;
                key
            }
        };
        Ok(Self { directory, key })
    }

    /// A compiled component, if it is in the cache.
    pub fn find(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        fs::read(self.file(engine, digest)).ok().and_then(|code| self.restore(engine, &code))
    }

    /// Keeps what was compiled, and gives it back ready to use.
    pub fn keep(
        &self,
        engine: &Engine,
        digest: &Digest,
        code: &Trusted,
    ) -> wasmtime::Result<Component> {
        let (file, Trusted(code)) = (self.file(engine, digest), code);
        let tag = self.mac(code).finalize().into_bytes();
        if let Err(error) = write_private(&file, &[&tag, code]) {
            tracing::warn!(file = %file.display(), %error, "compiled code could not be kept");
        }
        // SAFETY: whoever made the `Trusted` says that wasmtime made these bytes.
        unsafe { Component::deserialize(engine, code) }
    }

    fn restore(&self, engine: &Engine, file: &[u8]) -> Option<Component> {
        let (tag, code) = file.split_at_checked(TAG)?;
        self.mac(code).verify_slice(tag).ok()?;
        // SAFETY: the tag shows that this installation wrote these bytes, which wasmtime made. It
        // refuses by itself what another version or configuration of the engine made.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    fn file(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.directory.join(format!("{digest}-{:016x}", hasher.finish()))
    }

    fn mac(&self, code: &[u8]) -> Hmac<Sha256> {
        // An HMAC key may have any length.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length will do");
        mac.update(code);
        mac
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(file: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let draft = file.with_extension(format!("draft{}", std::process::id()));
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    for part in parts {
        out.write_all(part)?;
    }
    out.sync_all()?;
    fs::rename(&draft, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engines;

    #[test]
    fn a_forged_file_is_compiled_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(dir.path().join("c"), &dir.path().join("key")).unwrap();
        let engines = Engines::new().unwrap();
        let bytes = spinor_bundle::first_party().last().unwrap();
        let digest = Digest::of(bytes);
        let code = Trusted(engines.pure.precompile_component(bytes).unwrap());
        cache.keep(&engines.pure, &digest, &code).unwrap();
        let file = cache.file(&engines.pure, &digest);
        let mut code = fs::read(&file).unwrap();
        assert!(cache.find(&engines.pure, &digest).is_some());
        assert!(cache.restore(&engines.pure, &code).is_some());
        assert!(cache.restore(&engines.effectful, &code).is_none(), "another engine's");
        *code.last_mut().unwrap() ^= 1;
        assert!(cache.restore(&engines.pure, &code).is_none());
        fs::write(&file, &code).unwrap();
        assert!(cache.find(&engines.pure, &digest).is_none());
        assert!(cache.restore(&engines.pure, b"short").is_none());
    }
}
