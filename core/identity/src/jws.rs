//! Signed tokens in compact form, Ed25519 only, under the name that RFC 9864 gives it: DiracX's clients
//! and keys use `Ed25519`, which general libraries still know as `EdDSA`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

/// The one algorithm.
pub const ALGORITHM: &str = "Ed25519";

#[derive(Serialize, Deserialize)]
struct Header {
    typ: String,
    alg: String,
    kid: String,
}

/// Bytes in a token's alphabet.
pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Back from a token's alphabet.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// The name of a key: its thumbprint (RFC 7638).
pub fn thumbprint(key: &VerifyingKey) -> String {
    let x = to_base64(key.as_bytes());
    to_base64(&Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

/// A token with these claims, by a key under its name.
pub fn sign(
    claims: &impl Serialize,
    (kid, key): (&str, &SigningKey),
) -> Result<String, serde_json::Error> {
    let (typ, alg) = ("JWT".to_owned(), ALGORITHM.to_owned());
    let header = Header { typ, alg, kid: kid.to_owned() };
    let header = to_base64(&serde_json::to_vec(&header)?);
    let claims = to_base64(&serde_json::to_vec(claims)?);
    let signed = format!("{header}.{claims}");
    let signature = to_base64(&key.sign(signed.as_bytes()).to_bytes());
    Ok(format!("{signed}.{signature}"))
}

/// The claims of a token that one of the keys signed; the caller finds a key by its name.
pub fn verify<'k, T: DeserializeOwned>(
    token: &str,
    key: impl FnOnce(&str) -> Option<&'k VerifyingKey>,
) -> Option<T> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&from_base64(header)?).ok()?;
    if header.alg != ALGORITHM {
        return None;
    }
    let signature = Signature::from_slice(&from_base64(signature)?).ok()?;
    key(&header.kid)?.verify_strict(signed.as_bytes(), &signature).ok()?;
    serde_json::from_slice(&from_base64(claims)?).ok()
}
