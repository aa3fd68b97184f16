//! RFC 3820 proxies: certificates that whoever has one may issue in its own name, short-lived, with a key
//! of their own. Grids take them with RSA keys everywhere.

use rsa::{
    RsaPrivateKey,
    pkcs8::{EncodePublicKey, LineEnding},
    rand_core::{OsRng, RngCore},
};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    attr::AttributeTypeAndValue,
    der::{
        self, Decode, Encode, EncodePem, Tag,
        asn1::{
            Any, BitString, Null, ObjectIdentifier, OctetString, PrintableString, SetOfVec, UtcTime,
        },
    },
    ext::Extension,
    name::{Name, RelativeDistinguishedName},
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

/// `id-pe-proxyCertInfo` of RFC 3820.
const PROXY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.14");
/// `id-ppl-inheritAll`: whoever has it may do all that its issuer may.
const FULL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.21.1");
/// Globus's limited policy: data, yes; jobs, no.
const LIMITED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3536.1.1.1.9");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// Where VOMS's attribute certificates are in a proxy.
const VOMS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.8005.100.100.5");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Clocks elsewhere may be slow.
const SLOW_CLOCKS: Duration = Duration::from_secs(300);
const KEY_BITS: usize = 2048;

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum BadRobot {
    /// What is there is none.
    #[error("is no certificate with its key in PEM: {0}")]
    Unreadable(String),
    /// It is over, or nearly.
    #[error("the certificate has ended: put a new one there")]
    Ended,
    /// Something broke.
    #[error("no proxy could be made: {0}")]
    Internal(String),
}

impl From<der::Error> for BadRobot {
    fn from(error: der::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A certificate that issues proxies, its chain, and its key.
pub struct Robot {
    chain: Vec<Certificate>,
    key: Arc<dyn SigningKey>,
}

/// What a proxy is to be.
pub struct Wish {
    /// Whether it may not send jobs.
    pub limited: bool,
    /// A VOMS attribute certificate, in DER.
    pub attributes: Option<Vec<u8>>,
    /// From when on.
    pub from: SystemTime,
    /// How long.
    pub life: Duration,
}

/// A proxy, its key and its chain in PEM, and its end.
pub struct Minted {
    pub pem: String,
    pub until: SystemTime,
}

impl Robot {
    /// Reads a certificate, its chain and its key, in any order but the certificate first of its chain.
    pub fn read(pem: &[u8]) -> Result<Self, BadRobot> {
        let bad = |why: &dyn std::fmt::Display| BadRobot::Unreadable(why.to_string());
        let mut chain = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let der = certificate.map_err(|error| bad(&error))?;
            chain.push(Certificate::from_der(&der).map_err(|error| bad(&error))?);
        }
        if chain.is_empty() {
            return Err(bad(&"there is no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| bad(&"there is no key"))?;
        let key =
            any_supported_type(&key).map_err(|_| bad(&"the key is of no kind that is known"))?;
        Ok(Self { chain, key })
    }

    /// Issues a proxy. Making its key takes a second of a processor.
    pub fn issue(&self, wish: Wish) -> Result<Minted, BadRobot> {
        let own = &self.chain[0].tbs_certificate;
        let until = (wish.from + wish.life).min(own.validity.not_after.to_system_time());
        if until <= wish.from {
            return Err(BadRobot::Ended);
        }
        let internal = |error: &dyn std::fmt::Display| BadRobot::Internal(error.to_string());
        let key = RsaPrivateKey::new(&mut OsRng, KEY_BITS).map_err(|error| internal(&error))?;
        let public = key.to_public_key().to_public_key_der().map_err(|error| internal(&error))?;
        let number = OsRng.next_u32() >> 1;
        let (signer, algorithm) = self.signer()?;
        let tbs_certificate = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::from(number),
            signature: algorithm.clone(),
            issuer: own.subject.clone(),
            validity: Validity {
                not_before: time(wish.from - SLOW_CLOCKS)?,
                not_after: time(until)?,
            },
            subject: below(&own.subject, number)?,
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(public.as_bytes())?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions(&wish)?),
        };
        let signature =
            signer.sign(&tbs_certificate.to_der()?).map_err(|error| internal(&error))?;
        let signature = BitString::from_bytes(&signature)?;
        let proxy = Certificate { tbs_certificate, signature_algorithm: algorithm, signature };
        let mut pem = proxy.to_pem(LineEnding::LF)?;
        // The form that all of the grid's software reads.
        pem.push_str(
            &rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_pem(&key, LineEnding::LF)
                .map_err(|error| internal(&error))?,
        );
        for certificate in &self.chain {
            pem.push_str(&certificate.to_pem(LineEnding::LF)?);
        }
        Ok(Minted { pem, until })
    }

    fn signer(
        &self,
    ) -> Result<(Box<dyn rustls::sign::Signer>, AlgorithmIdentifierOwned), BadRobot> {
        let known = [
            (SignatureScheme::RSA_PKCS1_SHA256, "1.2.840.113549.1.1.11", true),
            (SignatureScheme::ECDSA_NISTP256_SHA256, "1.2.840.10045.4.3.2", false),
            (SignatureScheme::ECDSA_NISTP384_SHA384, "1.2.840.10045.4.3.3", false),
            (SignatureScheme::ED25519, "1.3.101.112", false),
        ];
        let signer = self.key.choose_scheme(&known.map(|(scheme, ..)| scheme));
        let signer =
            signer.ok_or_else(|| BadRobot::Unreadable("its key cannot sign".to_owned()))?;
        let (_, oid, null) =
            known.into_iter().find(|(scheme, ..)| *scheme == signer.scheme()).unwrap_or(known[0]);
        let parameters = null.then(|| Any::encode_from(&Null)).transpose()?;
        Ok((
            signer,
            AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters },
        ))
    }
}

fn time(time: SystemTime) -> Result<Time, BadRobot> {
    Ok(match UtcTime::from_system_time(time) {
        Ok(short) => Time::UtcTime(short),
        Err(_) => Time::try_from(time)?,
    })
}

/// The issuer's name with one part more.
fn below(issuer: &Name, number: u32) -> Result<Name, BadRobot> {
    let number = PrintableString::new(&number.to_string())?;
    let part = AttributeTypeAndValue { oid: COMMON_NAME, value: Any::encode_from(&number)? };
    let mut name = issuer.clone();
    name.0.push(RelativeDistinguishedName(SetOfVec::try_from(vec![part])?));
    Ok(name)
}

fn sequence(content: Vec<u8>) -> der::Result<Vec<u8>> {
    Any::new(Tag::Sequence, content)?.to_der()
}

fn extensions(wish: &Wish) -> Result<Vec<Extension>, BadRobot> {
    let extension = |extn_id, critical, value: Vec<u8>| {
        Ok::<_, der::Error>(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
    };
    let policy = if wish.limited { LIMITED } else { FULL };
    // Digital signatures and key encipherment.
    let usage = BitString::new(5, [0b1010_0000])?.to_der()?;
    let mut all = vec![
        extension(PROXY, true, sequence(sequence(policy.to_der()?)?)?)?,
        extension(KEY_USAGE, true, usage)?,
    ];
    if let Some(certificate) = &wish.attributes {
        all.push(extension(VOMS, false, sequence(sequence(certificate.clone())?)?)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_told_and_no_key_is_shown() {
        let told = |text: &str| Robot::read(text.as_bytes()).err().unwrap().to_string();
        assert!(told("").contains("there is no certificate"));
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        assert!(!told(key).contains("c2VjcmV0"));
    }
}
