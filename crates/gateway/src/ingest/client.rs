//! The client's address, behind proxies that the operator trusts.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Entries that are read of a header, from its end.
const MAX_ENTRIES: usize = 32;

/// Returns the address that the nearest proxy outside `trusted` came from. Each proxy appends the
/// address that it saw, so entries are read from the end, and only as far as trusted proxies wrote
/// them.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer;
    if !is_trusted(nearest) {
        return nearest;
    }
    let (name, parse): (_, fn(&str) -> Option<IpAddr>) = if headers.contains_key(FORWARDED) {
        (FORWARDED, forwarded)
    } else {
        (X_FORWARDED_FOR, node)
    };
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    for entry in values
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(','))
        .take(MAX_ENTRIES)
    {
        let Some(address) = parse(entry) else { break };
        nearest = address;
        if !is_trusted(nearest) {
            break;
        }
    }
    nearest
}

/// Returns the address of an element of `Forwarded`, as in `for="[2001:db8::1]:4711";proto=https`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut clients = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = clients.next()?;
    node(value.trim().trim_matches('"'))
}

/// Returns an address, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    let address = address.or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        address(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn headers_of_a_client_that_is_no_proxy_count_for_nothing() {
        assert_eq!(client("192.0.2.1", &[(X_FORWARDED_FOR, "198.51.100.1")]), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &[(FORWARDED, "for=198.51.100.1")]), "192.0.2.1");
    }

    #[test]
    fn entries_count_from_the_end_up_to_the_first_untrusted_one() {
        let list = "203.0.113.9, 198.51.100.1, 10.0.0.2";
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, list)]), "198.51.100.1");
        let headers = [(X_FORWARDED_FOR, "203.0.113.9"), (X_FORWARDED_FOR, "198.51.100.1:80")];
        assert_eq!(client("10.0.0.1", &headers), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &[(X_FORWARDED_FOR, "10.0.0.3, unknown, 10.0.0.2")]),
            "10.0.0.2"
        );
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_comes_before_the_older_header() {
        let headers = [
            (X_FORWARDED_FOR, "203.0.113.9"),
            (FORWARDED, "for=203.0.113.8, For=\"[2001:db8::1]:4711\";proto=https"),
        ];
        assert_eq!(client("::1", &headers), "2001:db8::1");
        assert_eq!(client("::1", &[(FORWARDED, "for=_hidden;by=10.0.0.1")]), "::1");
    }
}
