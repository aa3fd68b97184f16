//! The keys that sign and check tokens: a file in the form of a JSON Web Key Set, which an operator may
//! bring. The first key signs, all of them check; so a new one is put first and old ones stay until
//! their tokens have expired.

use crate::{
    file::{make_once, replace},
    jws::{self, ALGORITHM},
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

/// A key, as the file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredKey {
    kty: String,
    crv: String,
    x: String,
    d: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    alg: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct StoredKeys {
    keys: Vec<StoredKey>,
}

/// A public key, as everybody may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    /// `OKP`.
    pub kty: &'static str,
    /// `Ed25519`.
    pub crv: &'static str,
    /// The key, in base64url.
    pub x: String,
    /// Its name.
    pub kid: String,
    /// `Ed25519`.
    pub alg: &'static str,
    /// `verify`.
    pub key_ops: [&'static str; 1],
}

/// Keys as of some moment.
pub struct KeySet {
    signing: (String, SigningKey),
    public: Vec<(String, VerifyingKey)>,
    /// By their names, and by their thumbprints, which earlier servers named them by.
    checking: BTreeMap<String, VerifyingKey>,
}

impl KeySet {
    /// The key that signs, and its name.
    pub fn signing(&self) -> (&str, &SigningKey) {
        (&self.signing.0, &self.signing.1)
    }

    /// The key of this name.
    pub fn checking(&self, kid: &str) -> Option<&VerifyingKey> {
        self.checking.get(kid)
    }

    /// The public keys.
    pub fn public(&self) -> Vec<PublicKey> {
        let public = |(kid, key): &(String, VerifyingKey)| PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            x: jws::to_base64(key.as_bytes()),
            kid: kid.clone(),
            alg: ALGORITHM,
            key_ops: ["verify"],
        };
        self.public.iter().map(public).collect()
    }

    fn of(stored: &StoredKeys) -> Result<Self, String> {
        let (mut signing, mut public) = (None, Vec::with_capacity(stored.keys.len()));
        let mut checking = BTreeMap::new();
        for key in &stored.keys {
            if (key.kty.as_str(), key.crv.as_str()) != ("OKP", "Ed25519") {
                return Err(format!(
                    "it has a {} {} key: only OKP Ed25519 keys sign here",
                    key.kty, key.crv
                ));
            }
            let seed = jws::from_base64(&key.d).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
            let seed = seed.ok_or("the field d of a key is not 32 bytes in base64url")?;
            let secret = SigningKey::from_bytes(&seed);
            let shown = secret.verifying_key();
            if jws::to_base64(shown.as_bytes()) != key.x {
                return Err("the fields x and d of a key do not belong together".to_owned());
            }
            let thumbprint = jws::thumbprint(&shown);
            // Names tell keys apart: a second key of a name has its thumbprint for one; said again, it counts once.
            let is_free =
                |name: &&String| !name.is_empty() && public.iter().all(|(other, _)| other != *name);
            let Some(name) = [&key.kid, &thumbprint].into_iter().find(is_free).cloned() else {
                continue;
            };
            public.push((name.clone(), shown));
            checking.insert(name.clone(), shown);
            checking.entry(thumbprint).or_insert(shown);
            signing.get_or_insert((name, secret));
        }
        let signing = signing.ok_or("it has no key")?;
        Ok(Self { signing, public, checking })
    }
}

/// How old what was read may become.
const FRESH: Duration = Duration::from_secs(2);

struct Read {
    set: Arc<KeySet>,
    changed: SystemTime,
    looked: Instant,
}

/// The keys in a file, read again when it changes.
pub struct KeyFile {
    file: PathBuf,
    read: RwLock<Read>,
}

impl KeyFile {
    /// Reads the file; makes it, readable by its owner alone, if it is missing.
    pub fn open(file: &Path) -> io::Result<Self> {
        if !file.exists() {
            create(file)?;
        }
        Self::existing(file)
    }

    /// Reads an existing file.
    pub fn existing(file: &Path) -> io::Result<Self> {
        let read = RwLock::new(read(file)?);
        Ok(Self { file: file.to_owned(), read })
    }

    /// The keys as of now. A file that cannot be read leaves those that were there.
    pub fn current(&self) -> Arc<KeySet> {
        let known = self.read.read().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() < FRESH {
            return known.set.clone();
        }
        drop(known);
        let mut known = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() < FRESH {
            return known.set.clone();
        }
        known.looked = Instant::now();
        let changed = fs::metadata(&self.file).and_then(|file| file.modified());
        if changed.is_ok_and(|changed| changed != known.changed) {
            match read(&self.file) {
                Ok(fresh) => *known = fresh,
                Err(error) => tracing::error!(%error, "the keys stay as they were"),
            }
        }
        known.set.clone()
    }

    /// Puts a new key first and keeps at most `keep` old ones; the names of all, the new one first.
    pub fn rotate(file: &Path, keep: usize) -> io::Result<Vec<String>> {
        let mut stored = stored(file)?;
        stored.keys.insert(0, fresh(&rand::rng().random()));
        stored.keys.truncate(keep + 1);
        let set = KeySet::of(&stored).map_err(|why| broken(file, &why))?;
        replace(file, &serde_json::to_vec_pretty(&stored)?)?;
        Ok(set.public.into_iter().map(|(kid, _)| kid).collect())
    }
}

fn broken(file: &Path, why: &str) -> io::Error {
    io::Error::other(format!("key file {}: {why}", file.display()))
}

fn stored(file: &Path) -> io::Result<StoredKeys> {
    serde_json::from_slice(&fs::read(file)?).map_err(|error| broken(file, &error.to_string()))
}

fn read(file: &Path) -> io::Result<Read> {
    let changed = fs::metadata(file)?.modified()?;
    let set = KeySet::of(&stored(file)?).map_err(|why| broken(file, &why))?;
    Ok(Read { set: Arc::new(set), changed, looked: Instant::now() })
}

fn fresh(seed: &[u8; 32]) -> StoredKey {
    let key = SigningKey::from_bytes(seed).verifying_key();
    StoredKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x: jws::to_base64(key.as_bytes()),
        d: jws::to_base64(seed),
        kid: jws::thumbprint(&key),
        alg: Some(ALGORITHM.to_owned()),
    }
}

fn create(file: &Path) -> io::Result<()> {
    // Earlier versions kept the bare seed of one key.
    let earlier = fs::read(file.with_file_name("token.key")).ok();
    let seed = earlier.and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    make_once(file, &serde_json::to_vec_pretty(&StoredKeys { keys: vec![fresh(&seed)] })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_signs_and_the_old_ones_still_check() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys/token.jwks");
        let before = KeyFile::open(&file).unwrap().current();
        let old = jws::sign(&serde_json::json!({"a": 1}), before.signing()).unwrap();
        assert_eq!(KeyFile::rotate(&file, 1).unwrap().len(), 2);
        let keys = KeyFile::open(&file).unwrap().current();
        let read = |token: &str| jws::verify::<serde_json::Value>(token, |kid| keys.checking(kid));
        let new = jws::sign(&serde_json::json!({"a": 2}), keys.signing()).unwrap();
        assert_eq!(read(&old).unwrap()["a"], 1);
        assert_eq!(read(&new).unwrap()["a"], 2);
        assert_ne!(old.split('.').next(), new.split('.').next(), "another key's name");
        KeyFile::rotate(&file, 1).unwrap();
        let keys = KeyFile::open(&file).unwrap().current();
        assert!(jws::verify::<serde_json::Value>(&old, |kid| keys.checking(kid)).is_none());
    }

    #[test]
    fn a_key_is_readable_by_its_owner_alone_and_an_earlier_seed_is_taken_over() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token.key"), [7; 32]).unwrap();
        let file = dir.path().join("token.jwks");
        let keys = KeyFile::open(&file).unwrap().current();
        assert_eq!(keys.signing().1.to_bytes(), [7; 32]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_an_operator_brought_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token.jwks");
        let named = |name: &str| StoredKey { kid: name.to_owned(), ..fresh(&[7; 32]) };
        let write = |keys| fs::write(&file, serde_json::to_vec(&StoredKeys { keys }).unwrap());
        write(vec![fresh(&[7; 32])]).unwrap();
        let earlier = KeyFile::open(&file).unwrap().current();
        let earlier = jws::sign(&serde_json::json!({"a": 1}), earlier.signing()).unwrap();
        write(vec![named("ours"), fresh(&[8; 32])]).unwrap();
        let keys = KeyFile::open(&file).unwrap().current();
        assert_eq!((keys.signing().0, &*keys.public()[0].kid), ("ours", "ours"));
        let read = |token: &str| jws::verify::<serde_json::Value>(token, |kid| keys.checking(kid));
        let token = jws::sign(&serde_json::json!({"a": 2}), keys.signing()).unwrap();
        assert_eq!(read(&token).unwrap()["a"], 2);
        assert_eq!(read(&earlier).unwrap()["a"], 1, "signed when it was named by its thumbprint");
        write(vec![named("ours"), StoredKey { kid: "ours".to_owned(), ..fresh(&[8; 32]) }])
            .unwrap();
        let keys = KeyFile::open(&file).unwrap().current();
        let other = fresh(&[8; 32]).kid;
        assert!(
            keys.checking("ours").is_some() && keys.checking(&other).is_some(),
            "by its own name"
        );
    }

    #[test]
    fn says_what_is_wrong_with_a_file_that_an_operator_brought() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token.jwks");
        for (text, expected) in [
            ("{", "EOF"),
            (r#"{"keys": []}"#, "it has no key"),
            (r#"{"keys": [{"kty": "RSA", "crv": "", "x": "", "d": ""}]}"#, "only OKP Ed25519"),
            (r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "", "d": "AA"}]}"#, "not 32 bytes"),
        ] {
            fs::write(&file, text).unwrap();
            let error = KeyFile::open(&file).err().unwrap().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
