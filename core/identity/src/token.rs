//! Spinor's own tokens: short-lived, signed with Ed25519.

use crate::subject::Subject;
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use spinor_model::time::Timestamp;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
    spinor: Subject,
}

/// Why a token is not taken. It never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired: get a fresh one")]
    Expired,
    /// It was not signed here, or is no token at all.
    #[error("the token is not valid here")]
    Invalid,
    /// It could not be signed.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

/// The keys that sign and check tokens.
pub struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
    validation: Validation,
}

const ISSUER: &str = "spinor";

impl Keys {
    /// Reads the key file; makes it, readable by its owner alone, if it is missing.
    pub fn open(file: &Path) -> io::Result<Self> {
        let seed = match fs::read(file) {
            Ok(seed) => seed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(file)?,
            Err(error) => return Err(error),
        };
        Self::read(file, &seed)
    }

    /// Reads an existing key file.
    pub fn existing(file: &Path) -> io::Result<Self> {
        Self::read(file, &fs::read(file)?)
    }

    fn read(file: &Path, seed: &[u8]) -> io::Result<Self> {
        let broken = |why: String| io::Error::other(format!("key file {}: {why}", file.display()));
        let seed: [u8; 32] =
            seed.try_into().map_err(|_| broken("it does not have 32 bytes".to_owned()))?;
        let key = SigningKey::from_bytes(&seed);
        let der = key.to_pkcs8_der().map_err(|error| broken(error.to_string()))?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = 5;
        validation.validate_aud = false;
        Ok(Self {
            signing: EncodingKey::from_ed_der(der.as_bytes()),
            checking: DecodingKey::from_ed_der(key.verifying_key().as_bytes()),
            validation,
        })
    }

    /// A token for `subject`.
    pub fn issue(
        &self,
        subject: &Subject,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, TokenError> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: subject.to_string(),
            iat: now.0 / 1000,
            exp: now.plus(lifetime).0 / 1000,
            spinor: subject.clone(),
        };
        encode(&Header::new(Algorithm::EdDSA), &claims, &self.signing)
            .map_err(|error| TokenError::Signing(error.to_string()))
    }

    /// Who a token speaks for.
    pub fn check(&self, token: &str) -> Result<Subject, TokenError> {
        use jsonwebtoken::errors::ErrorKind;
        match decode::<Claims>(token, &self.checking, &self.validation) {
            Ok(token) => Ok(token.claims.spinor),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                Err(TokenError::Expired)
            }
            Err(_) => Err(TokenError::Invalid),
        }
    }
}

fn create(file: &Path) -> io::Result<Vec<u8>> {
    let seed: [u8; 32] = rand::rng().random();
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(&seed)?;
    out.sync_all()?;
    Ok(seed.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::time::{Clock, SystemClock};

    fn operator() -> Subject {
        Subject::Operator { name: "o".to_owned() }
    }

    #[test]
    fn takes_its_own_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(&dir.path().join("a")).unwrap();
        let other = Keys::open(&dir.path().join("b")).unwrap();
        let now = SystemClock.now();
        let token = keys.issue(&operator(), Duration::from_secs(60), now).unwrap();
        assert_eq!(keys.check(&token), Ok(operator()));
        assert_eq!(Keys::open(&dir.path().join("a")).unwrap().check(&token), Ok(operator()));
        assert_eq!(other.check(&token), Err(TokenError::Invalid));
        assert_eq!(keys.check("abc"), Err(TokenError::Invalid));
        let old = Timestamp(now.0 - 120_000);
        let expired = keys.issue(&operator(), Duration::from_secs(60), old).unwrap();
        assert_eq!(keys.check(&expired), Err(TokenError::Expired));
    }

    #[test]
    fn refuses_the_algorithm_none_and_changed_claims() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(&dir.path().join("a")).unwrap();
        let token = keys.issue(&operator(), Duration::from_secs(60), SystemClock.now()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        // {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]);
        assert_eq!(keys.check(&none), Err(TokenError::Invalid));
        let changed = format!("{}.{}x.{}", parts[0], parts[1], parts[2]);
        assert_eq!(keys.check(&changed), Err(TokenError::Invalid));
    }

    #[test]
    fn a_key_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys/token.key");
        Keys::open(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
