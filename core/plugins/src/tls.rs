//! TLS as CEs speak it: all that rustls does, and key exchange on curve P-521, which is the only one that
//! ARC 6 offers as shipped (`tlscurve = secp521r1`).

use p521::{PublicKey, Sec1Point, ecdh::EphemeralSecret, elliptic_curve::Generate};
use rustls::{
    Error, NamedGroup, PeerMisbehaved,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret, SupportedKxGroup, ring,
    },
};

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
