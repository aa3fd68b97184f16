//! Which addresses a guest's request may go to: a granted name must not lead into the private network
//! unless the grant says so, whatever it resolves to at that moment.

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// A host that is on a private network, though its grant does not say that it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is at the private address {address}: its grant would have to say `private = true`")]
pub struct Private {
    host: String,
    address: IpAddr,
}

impl Private {
    /// Checks a host that is written as an address, which is never resolved.
    pub fn check(url: &Url, allowed: bool) -> Result<(), Self> {
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        match address {
            Ok(address) if !allowed && !is_public(address) => {
                Err(Self { host: host.to_owned(), address })
            }
            _ => Ok(()),
        }
    }
}

/// Resolves names, and refuses those that lead where they may not.
#[derive(Debug)]
pub struct Resolver {
    private: Arc<BTreeSet<String>>,
}

impl Resolver {
    /// Names in `private` may lead into the private network.
    pub fn new(private: BTreeSet<String>) -> Self {
        Self { private: Arc::new(private) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.private.contains(name.as_str());
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(private) = found.iter().find(|a| !allowed && !is_public(a.ip())) {
                return Err(Private { host, address: private.ip() }.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is globally reachable, by IANA's registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let s = v6.segments();
    // Addresses that hold another: mapped, compatible, NAT64, 6to4.
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            inner(high, low)
        }
        [0x2002, high, low, ..] => inner(high, low),
        [0x2001, 0xdb8, ..] | [0x2001, 0..=0x1ff, ..] | [0x64, 0xff9b, 1, ..] => false,
        _ => s[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_all_their_disguises() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["137.138.1.1", "8.8.8.8", "2001:1458::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn addresses_in_urls_are_seen_however_they_are_written() {
        for url in ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/"] {
            let url = Url::parse(url).unwrap();
            assert!(Private::check(&url, false).is_err(), "{url}");
            assert!(Private::check(&url, true).is_ok(), "{url}");
        }
        assert!(Private::check(&Url::parse("https://example.org/").unwrap(), false).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused() {
        let resolve = |resolver: Resolver| async move {
            resolver.resolve("localhost".parse().unwrap()).await.map(Iterator::count)
        };
        let refused = resolve(Resolver::new(BTreeSet::new())).await.unwrap_err();
        assert!(refused.downcast_ref::<Private>().is_some(), "{refused}");
        assert!(
            resolve(Resolver::new(BTreeSet::from(["localhost".to_owned()]))).await.unwrap() > 0
        );
    }
}
