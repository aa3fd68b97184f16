//! Spinor's own tokens: short-lived access tokens with DiracX's claims, and refresh tokens that work
//! once.

use crate::{
    jws,
    keys::{KeyFile, KeySet, PublicKey},
    subject::{Member, Subject},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spinor_model::{
    id::{GroupName, UserName, VoName},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What an access token says. Of members, DiracX's nine claims; of others, who they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    jti: String,
    exp: i64,
    iss: String,
    sub: String,
    #[serde(flatten)]
    who: Who,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Who {
    Member {
        vo: VoName,
        dirac_group: GroupName,
        dirac_properties: BTreeSet<String>,
        dirac_policies: BTreeMap<String, serde_json::Value>,
        preferred_username: UserName,
    },
    Other {
        spinor: Subject,
    },
}

/// What a refresh token says: DiracX's clients look for its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RefreshClaims {
    jti: String,
    exp: i64,
    dirac_policies: BTreeMap<String, serde_json::Value>,
    legacy_exchange: bool,
}

/// Why a token is not taken. It never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("Invalid JWT: the token has expired, get a fresh one")]
    Expired,
    /// It was not signed here, or is no token at all.
    #[error("Invalid JWT: the token is not valid here")]
    Invalid,
    /// It could not be signed.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

/// Clocks of those who show tokens may be behind by this.
const LEEWAY: i64 = 5;

/// Signs and checks tokens.
pub struct Keys {
    file: KeyFile,
    issuer: String,
    seen: Seen,
}

/// Access tokens whose signatures have been checked, by their SHA-256: whoever calls often shows the same
/// one, and a signature is dearer than most of what is asked for with it.
#[derive(Default)]
struct Seen(Mutex<HashMap<[u8; 32], Checked>>);

#[derive(Clone)]
struct Checked {
    subject: Subject,
    exp: i64,
    /// The keys of then: with others it counts no more.
    keys: Arc<KeySet>,
}

/// With more than this all are forgotten.
const REMEMBERED: usize = 10_000;

impl Seen {
    fn map(&self) -> MutexGuard<'_, HashMap<[u8; 32], Checked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, token: &[u8; 32], keys: &Arc<KeySet>) -> Option<Checked> {
        self.map().get(token).filter(|checked| Arc::ptr_eq(&checked.keys, keys)).cloned()
    }

    fn put(&self, token: [u8; 32], checked: Checked) {
        let mut map = self.map();
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(token, checked);
    }
}

fn token_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn signing(error: serde_json::Error) -> TokenError {
    TokenError::Signing(error.to_string())
}

fn in_time<T>(claims: T, exp: i64, now: Timestamp) -> Result<T, TokenError> {
    if exp + LEEWAY > now.0 / 1000 { Ok(claims) } else { Err(TokenError::Expired) }
}

impl Keys {
    /// With the keys of a file, which is made if it is missing.
    pub fn open(file: &Path, issuer: &str) -> io::Result<Self> {
        Ok(Self::with(KeyFile::open(file)?, issuer))
    }

    /// With the keys of an existing file.
    pub fn existing(file: &Path, issuer: &str) -> io::Result<Self> {
        Ok(Self::with(KeyFile::existing(file)?, issuer))
    }

    fn with(file: KeyFile, issuer: &str) -> Self {
        Self { file, issuer: issuer.to_owned(), seen: Seen::default() }
    }

    /// The public keys.
    pub fn public(&self) -> Vec<PublicKey> {
        self.file.current().public()
    }

    /// A token for `subject`.
    pub fn issue(
        &self,
        subject: &Subject,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, TokenError> {
        let (sub, who) = match subject {
            Subject::Member(member) => {
                let who = Who::Member {
                    vo: member.vo.clone(),
                    dirac_group: member.group.clone(),
                    dirac_properties: member.properties.clone(),
                    dirac_policies: BTreeMap::new(),
                    preferred_username: member.user.clone(),
                };
                (format!("{}:{}", member.vo, member.sub), who)
            }
            other => (other.to_string(), Who::Other { spinor: other.clone() }),
        };
        let (exp, iss) = (now.plus(lifetime).0 / 1000, self.issuer.clone());
        let claims = Claims { jti: token_id(), exp, iss, sub, who };
        self.sign(&claims)
    }

    /// Who a token speaks for.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Subject, TokenError> {
        let (digest, keys) = (Sha256::digest(token).into(), self.file.current());
        let checked = match self.seen.get(&digest, &keys) {
            Some(checked) => checked,
            None => {
                let (subject, exp) = Self::read(token, &keys)?;
                let checked = Checked { subject, exp, keys };
                self.seen.put(digest, checked.clone());
                checked
            }
        };
        in_time(checked.subject, checked.exp, now)
    }

    fn read(token: &str, keys: &KeySet) -> Result<(Subject, i64), TokenError> {
        let claims = jws::verify(token, |kid| keys.checking(kid));
        let Claims { exp, sub, who, .. } = claims.ok_or(TokenError::Invalid)?;
        let subject = match who {
            Who::Other { spinor: Subject::Member(_) } => return Err(TokenError::Invalid),
            Who::Other { spinor } => spinor,
            Who::Member { vo, dirac_group, dirac_properties, preferred_username, .. } => {
                let sub =
                    sub.strip_prefix(&format!("{vo}:")).ok_or(TokenError::Invalid)?.to_owned();
                let (group, user) = (dirac_group, preferred_username);
                Subject::Member(Member { vo, group, user, sub, properties: dirac_properties })
            }
        };
        Ok((subject, exp))
    }

    /// Signs what is no login: claims of the caller's own.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        jws::sign(claims, self.file.current().signing()).map_err(signing)
    }

    /// Claims that [`Self::sign`] has signed, if they are of this form.
    pub fn verify<T: serde::de::DeserializeOwned>(&self, token: &str) -> Option<T> {
        let keys = self.file.current();
        jws::verify(token, |kid| keys.checking(kid))
    }

    /// A refresh token, and its number.
    pub fn issue_refresh(&self, expires: Timestamp) -> Result<(String, String), TokenError> {
        let jti = token_id();
        let claims = RefreshClaims {
            jti: jti.clone(),
            exp: expires.0 / 1000,
            dirac_policies: BTreeMap::new(),
            legacy_exchange: false,
        };
        Ok((self.sign(&claims)?, jti))
    }

    /// The number of a refresh token that was signed here, whether or not its time is over.
    pub fn check_refresh(&self, token: &str) -> Result<String, TokenError> {
        let claims: RefreshClaims = self.verify(token).ok_or(TokenError::Invalid)?;
        Ok(claims.jti)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::time::{Clock, SystemClock};

    const MINUTE: Duration = Duration::from_secs(60);

    fn operator() -> Subject {
        Subject::Operator { name: "o".to_owned() }
    }

    fn keys(name: &str, dir: &tempfile::TempDir) -> Keys {
        Keys::open(&dir.path().join(name), "https://here").unwrap()
    }

    fn claims(token: &str) -> serde_json::Value {
        let part = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&jws::from_base64(part).unwrap()).unwrap()
    }

    #[test]
    fn takes_its_own_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (keys("a", &dir), keys("b", &dir));
        let now = SystemClock.now();
        let token = own.issue(&operator(), MINUTE, now).unwrap();
        assert_eq!(own.check(&token, now), Ok(operator()));
        assert_eq!(keys("a", &dir).check(&token, now), Ok(operator()));
        assert_eq!(other.check(&token, now), Err(TokenError::Invalid));
        assert_eq!(own.check("abc", now), Err(TokenError::Invalid));
        let later = now.plus(Duration::from_secs(120));
        assert_eq!(own.check(&token, later), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_was_seen_counts_no_longer_than_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys("a", &dir);
        let now = SystemClock.now();
        let token = keys.issue(&operator(), MINUTE, now).unwrap();
        let set = keys.file.current();
        let digest = Sha256::digest(&token).into();
        assert!(keys.seen.get(&digest, &set).is_none());
        keys.check(&token, now).unwrap();
        assert_eq!(keys.seen.get(&digest, &set).unwrap().subject, operator());
        let other = KeyFile::open(&dir.path().join("b")).unwrap().current();
        assert!(keys.seen.get(&digest, &other).is_none());
    }

    #[test]
    fn a_members_token_has_diracxs_nine_claims() {
        let dir = tempfile::tempdir().unwrap();
        let member = Subject::Member(Member {
            vo: "lab".parse().unwrap(),
            group: "user".parse().unwrap(),
            user: "ada".parse().unwrap(),
            sub: "1f@egi.eu".to_owned(),
            properties: ["NormalUser".to_owned()].into(),
        });
        let keys = keys("a", &dir);
        let now = SystemClock.now();
        let token = keys.issue(&member, MINUTE, now).unwrap();
        let claims = claims(&token);
        let mut names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let nine = [
            "dirac_group",
            "dirac_policies",
            "dirac_properties",
            "exp",
            "iss",
            "jti",
            "preferred_username",
            "sub",
            "vo",
        ];
        assert_eq!(names, nine);
        assert_eq!(claims["sub"], "lab:1f@egi.eu");
        assert_eq!(keys.check(&token, now), Ok(member));
        let header = jws::from_base64(token.split('.').next().unwrap()).unwrap();
        assert!(String::from_utf8(header).unwrap().contains(r#""alg":"Ed25519""#));
    }

    #[test]
    fn refuses_other_algorithms_changed_claims_and_tokens_of_another_kind() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys("a", &dir);
        let now = SystemClock.now();
        let token = keys.issue(&operator(), MINUTE, now).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let header = String::from_utf8(jws::from_base64(parts[0]).unwrap()).unwrap();
        for alg in ["none", "HS256", "EdDSA", "ed25519"] {
            let header = jws::to_base64(header.replace("Ed25519", alg).as_bytes());
            for signature in ["", parts[2]] {
                let forged = format!("{header}.{}.{signature}", parts[1]);
                assert_eq!(keys.check(&forged, now), Err(TokenError::Invalid), "{alg}");
            }
        }
        let claims = jws::from_base64(parts[1]).unwrap();
        let changed = String::from_utf8(claims).unwrap().replace("\"o\"", "\"p\"");
        let changed = format!("{}.{}.{}", parts[0], jws::to_base64(changed.as_bytes()), parts[2]);
        assert_eq!(keys.check(&changed, now), Err(TokenError::Invalid));
        let (refresh, jti) = keys.issue_refresh(now.plus(MINUTE)).unwrap();
        assert_eq!(keys.check(&refresh, now), Err(TokenError::Invalid));
        assert_eq!(keys.check_refresh(&token), Err(TokenError::Invalid));
        assert_eq!(keys.check_refresh(&refresh), Ok(jti));
    }
}
