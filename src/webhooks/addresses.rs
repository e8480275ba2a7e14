//! Which addresses a webhook may go to: those of the public internet. Addresses with a special purpose in IANA's
//! registries are refused, and so is every form that embeds an IPv4 address in an IPv6 one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    vec,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Networks: the first address and the prefix length.
const SPECIAL_V4: [(Ipv4Addr, u32); 19] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, including the metadata services of clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    // 6to4 relays.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    // Benchmarking.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's platform services, on every machine there.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// The block from which all global unicast addresses have been allocated so far. Loopback, mapped and compatible IPv4,
/// NAT64, unique local, link-local, site-local and multicast addresses are outside of it.
const GLOBAL_UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Special-purpose networks within [`GLOBAL_UNICAST_V6`].
const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    // Protocol assignments, including Teredo and ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    // Documentation.
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|net| is_in_v4(v4, *net)),
        IpAddr::V6(v6) => is_in_v6(v6, GLOBAL_UNICAST_V6) && !SPECIAL_V6.iter().any(|net| is_in_v6(v6, *net)),
    }
}

fn is_in_v4(address: Ipv4Addr, (net, prefix): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= prefix
}

fn is_in_v6(address: Ipv6Addr, (net, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= prefix
}

/// Resolves names to public addresses only. The client connects to the addresses returned here, which prevents DNS
/// rebinding.
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(public_of(found)?) as Addrs)
        })
    }
}

fn public_of(found: impl Iterator<Item = SocketAddr>) -> Result<vec::IntoIter<SocketAddr>, &'static str> {
    let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
    if public.is_empty() {
        return Err("the name leads to private addresses alone; webhooks.allow_private would permit them");
    }
    Ok(public.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [&str; 52] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.1.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::1.1.1.1",
        "::ffff:127.0.0.1",
        "::ffff:1.1.1.1",
        "64:ff9b::7f00:1",
        "64:ff9b::101:101",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:ffff::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:101:101::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00::1",
        "fe80::1",
        "fec0::1",
    ];

    #[test]
    fn addresses_of_a_special_purpose_are_none_of_the_internet() {
        for special in SPECIAL.into_iter().chain(["ff02::1", "ff0e::1", "2620:4f:8000::1"]) {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn of_what_a_name_leads_to_only_public_addresses_are_connected_to() {
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        let mixed = [at("127.0.0.1"), at("1.1.1.1"), at("::ffff:10.0.0.1")];
        assert_eq!(public_of(mixed.into_iter()).unwrap().collect::<Vec<_>>(), [at("1.1.1.1")]);
        for special in SPECIAL {
            assert!(public_of([at(special)].into_iter()).is_err(), "{special}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_resolves_to_nothing() {
        let refused = PublicOnly.resolve("localhost".parse().unwrap()).await.err().expect("a refusal");
        assert!(refused.to_string().contains("private addresses alone"), "{refused}");
    }
}
