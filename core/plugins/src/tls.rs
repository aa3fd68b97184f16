//! TLS as CEs speak it: all that rustls does, and key exchange on curve P-521, which is the only one that
//! ARC 6 offers as shipped (`tlscurve = secp521r1`).

use p521::{PublicKey, Sec1Point, ecdh::EphemeralSecret, elliptic_curve::Generate};
use rustls::{
    ClientConfig, Error, NamedGroup, PeerMisbehaved, RootCertStore,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret, SupportedKxGroup, ring,
    },
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;

/// What rustls computes with; P-521, which is slow, only where nothing else will do.
pub fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.kx_groups.push(&P521);
    provider
}

/// Makes it the process's. Whoever comes first is believed.
pub fn install() {
    drop(provider().install_default());
}

/// For servers that a certificate, or a proxy, is shown to: certificate first, then its chain and the key,
/// in PEM. Whose certificates are believed is in PEM as well; those that the machine believes if nothing is
/// said.
///
/// # Errors
/// If one of them is none, in words without it.
pub fn showing(identity: &[u8], authorities: Option<&[u8]>) -> Result<ClientConfig, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?;
    let builder = match authorities {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|error| text(&error))?;
            }
            builder.with_root_certificates(roots)
        }
        None => {
            let verifier = Verifier::new(provider.clone()).map_err(|error| text(&error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let chain = certificates(identity)?;
    let key = PrivateKeyDer::from_pem_slice(identity).map_err(|_| "there is no key in it")?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| text(&error))?;
    // Not the usual way, which looks into the certificate and knows no proxies.
    let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    Ok(builder.with_client_cert_resolver(Arc::new(shown)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found.map_err(|error| error.to_string())? {
        none if none.is_empty() => Err("there is no certificate in it".to_owned()),
        some => Ok(some),
    }
}

/// Ephemeral ECDH on secp521r1: RFC 8422 and RFC 8446, section 7.4.2.
#[derive(Debug)]
struct P521;

struct Exchange {
    secret: EphemeralSecret,
    public: Sec1Point,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = EphemeralSecret::try_generate().map_err(|_| GetRandomFailed)?;
        let public = Sec1Point::from(secret.public_key());
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // TLS has uncompressed points alone; that it is on the curve is seen to when it is read.
        let point = peer.first().filter(|first| **first == 4).map(|_| peer);
        let public = point.and_then(|point| PublicKey::from_sec1_bytes(point).ok());
        let public = public.ok_or(PeerMisbehaved::InvalidKeyShare)?;
        let shared = self.secret.diffie_hellman(&public);
        Ok(SharedSecret::from(shared.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_the_same_secret_and_nonsense_is_refused() {
        let (one, other) = (P521.start().unwrap(), P521.start().unwrap());
        let (ours, theirs) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        assert_eq!((ours.len(), ours[0]), (133, 4));
        let (a, b) = (one.complete(&theirs).unwrap(), other.complete(&ours).unwrap());
        assert_eq!(a.secret_bytes(), b.secret_bytes());
        assert_eq!(a.secret_bytes().len(), 66);
        let mut off = ours.clone();
        off[132] ^= 1;
        for bad in [&off[..], &ours[1..], &[], &[4]] {
            assert!(P521.start().unwrap().complete(bad).is_err());
        }
    }
}
