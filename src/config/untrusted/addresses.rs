//! IP addresses that an endpoint of an untrusted layer may have: public ones, and those that the
//! operator allows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Non-public networks that an endpoint of an untrusted layer may be in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses(Vec<Network>);

/// An address, and the length of its network prefix in bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

/// Networks outside the public internet, with their names in messages (IANA, "IPv4 Special-Purpose
/// Address Registry").
const SPECIAL_V4: [(Ipv4Addr, u8, &str); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8, "unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    // Azure's virtual machine service, at an address that the registry lists as public.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Networks within `2000::/3` that are not public (IANA, "IPv6 Special-Purpose Address Registry").
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "a tunnel to an IPv4 address",
    ),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// IPv4 addresses behind a translator (RFC 6052).
const TRANSLATED: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Addresses {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Returns the kind of a refused address, or `None` if it is allowed.
    pub(crate) fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = effective(address);
        if self.0.iter().any(|network| network.contains(address)) {
            return None;
        }
        match address {
            IpAddr::V4(v4) => SPECIAL_V4
                .into_iter()
                .find_map(|(of, bits, word)| Network::new(of, bits).contains(v4.into()).then_some(word)),
            IpAddr::V6(v6) => {
                let special = SPECIAL_V6
                    .into_iter()
                    .find_map(|(of, bits, word)| Network::new(of, bits).contains(address).then_some(word));
                let (of, bits) = GLOBAL_V6;
                special.or_else(|| (!Network::new(of, bits).contains(address)).then(|| kind_of(v6)))
            }
        }
    }

    /// Returns the networks as written.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// Returns the address that is actually reached: an IPv6 address may embed an IPv4 one.
fn effective(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if Network::new(TRANSLATED.0, TRANSLATED.1).contains(v6.into()) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}

/// Returns the kind of an address that is not global.
fn kind_of(address: Ipv6Addr) -> &'static str {
    if address.is_loopback() {
        "loopback"
    } else if address.is_unspecified() {
        "unspecified"
    } else if address.is_unicast_link_local() {
        "link-local"
    } else if address.is_unique_local() {
        "private"
    } else if address.is_multicast() {
        "multicast"
    } else {
        "reserved"
    }
}

impl Network {
    fn new(address: impl Into<IpAddr>, bits: u8) -> Self {
        Self {
            address: address.into(),
            bits,
        }
    }

    /// Parses `10.1.0.0/16`, `fd00::/8` or a single address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= max)?
            }
            Some(_) => return None,
            None => max,
        };
        Some(match (address, address.to_canonical()) {
            // Normalized for comparison: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => Self::new(v4, bits.checked_sub(96)?),
            _ => Self::new(address, bits),
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let common = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        common >= u32::from(self.bits)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_single = self.bits == if self.address.is_ipv4() { 32 } else { 128 };
        if is_single {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(networks: &[&str], address: &str) -> Option<&'static str> {
        let networks = networks.iter().map(|text| Network::parse(text).expect("a network"));
        Addresses::new(networks.collect()).refusal(address.parse().expect("an address"))
    }

    #[test]
    fn only_public_addresses_are_allowed_by_default() {
        for (address, word) in [
            ("8.8.8.8", None),
            ("172.32.0.1", None),
            ("100.128.0.1", None),
            ("2606:4700::1111", None),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::8.8.8.8", None),
            ("0.0.0.0", Some("unspecified")),
            ("10.1.2.3", Some("private")),
            ("100.64.0.1", Some("shared by a carrier")),
            ("100.100.100.200", Some("shared by a carrier")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.1", Some("loopback")),
            ("168.63.129.16", Some("a cloud's own service")),
            ("169.254.169.254", Some("link-local")),
            ("172.31.255.255", Some("private")),
            ("192.0.0.192", Some("reserved")),
            ("192.168.0.1", Some("private")),
            ("198.19.0.1", Some("for benchmarks")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:10.0.0.1", Some("private")),
            ("::127.0.0.1", Some("reserved")),
            ("64:ff9b::169.254.169.254", Some("link-local")),
            ("64:ff9b:1::1", Some("reserved")),
            ("2001::1", Some("reserved")),
            ("2001:db8::1", Some("for documentation")),
            ("2002:7f00:1::", Some("a tunnel to an IPv4 address")),
            ("fd00:ec2::254", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("reserved")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(refusal(&[], address), word, "{address}");
        }
    }

    #[test]
    fn an_allowed_network_matches_every_notation_of_an_address() {
        let networks = ["10.1.0.0/16", "127.0.0.1", "fd00:1::/32", "::ffff:192.168.0.0/112"];
        for (address, is_allowed) in [
            ("10.1.255.1", true),
            ("::ffff:10.1.0.9", true),
            ("64:ff9b::10.1.0.9", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd00:1::5", true),
            ("fd00:2::5", false),
            ("192.168.0.7", true),
            ("172.16.0.7", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(refusal(&networks, address).is_none(), is_allowed, "{address}");
        }
        assert_eq!(refusal(&["0.0.0.0/0"], "127.0.0.1"), None);
        for text in [
            "",
            "10.1",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "localhost",
            "::ffff:1.2.3.4/8",
        ] {
            assert!(Network::parse(text).is_none(), "{text}");
        }
    }
}
