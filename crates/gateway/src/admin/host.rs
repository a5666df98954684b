//! Hosts that requests may be for.
//!
//! The page of a browser cannot set `Host`. So requests of a page with a name that resolves to this
//! machine (DNS rebinding) have the name of the page, and are refused.

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{StatusCode, Version};

use super::refusal::{Refusal, quoted};
use crate::config::AdminSettings;

/// Refuses a request for another host than loopback, the listen address and the configured ones, or
/// without exactly one host. The port does not count.
pub(super) fn check(head: &Parts, settings: Option<&AdminSettings>) -> Result<(), Refusal> {
    let misdirected = |message: String| Refusal::new(StatusCode::MISDIRECTED_REQUEST, message);
    let Some(authority) = authority(head) else {
        return Err(misdirected("the request needs exactly one host".to_owned()));
    };
    if is_allowed(authority.host(), settings) {
        Ok(())
    } else {
        let host = quoted(authority.host());
        Err(misdirected(format!(
            "host {host} is not allowed; add it to gateway.admin.hosts"
        )))
    }
}

/// Returns the only host that the request names.
fn authority(head: &Parts) -> Option<Authority> {
    let mut named = head.headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    let in_header = || Authority::try_from(first?.as_bytes()).ok();
    let authority = match (head.uri.authority(), first, second) {
        (None, Some(_), None) => in_header(),
        // HTTP/2 has the host in the URI. In HTTP/1, that is a request to a proxy.
        (Some(authority), None, None) if head.version == Version::HTTP_2 => Some(authority.clone()),
        (Some(authority), Some(_), None) if head.version == Version::HTTP_2 => {
            in_header().filter(|host| host == authority)
        }
        _ => None,
    };
    authority.filter(|authority| !authority.as_str().contains('@'))
}

fn is_allowed(host: &str, settings: Option<&AdminSettings>) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_configured = |host: &str| settings.is_some_and(|admin| admin.hosts.iter().any(|known| known == host));
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback()
            || settings.is_some_and(|admin| address == admin.listen.ip().to_canonical())
            || is_configured(&address.to_string());
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    bare.is_none() && (name == "localhost" || is_configured(&name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn admin(listen: &str, hosts: &[&str]) -> AdminSettings {
        AdminSettings {
            listen: listen.parse().expect("an address"),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..AdminSettings::default()
        }
    }

    fn status(settings: &AdminSettings, version: Version, uri: &str, hosts: &[&str]) -> u16 {
        let (mut head, ()) = Request::get(uri)
            .version(version)
            .body(())
            .expect("a request")
            .into_parts();
        for host in hosts {
            let host = HeaderValue::from_bytes(host.as_bytes()).expect("a value");
            head.headers.append(HOST, host);
        }
        check(&head, Some(settings)).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_loopback_the_listen_address_and_configured_hosts_are_allowed() {
        let plain = admin("192.168.7.7:4320", &[]);
        let configured = admin("[::]:4320", &["gateway.internal", "10.1.2.3", "2001:db8::1"]);
        let both = |host: &str| [&plain, &configured].map(|admin| status(admin, Version::HTTP_11, "/", &[host]));
        for host in [
            "localhost",
            "LOCALHOST:4320",
            "localhost.",
            "localhost:",
            "127.0.0.1:4320",
            "127.31.7.9",
            "[::1]:4320",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(both(host), [200, 200], "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4320",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "xlocalhost",
            "localhost..",
            "[localhost]",
            "[gateway.internal]",
            "128.0.0.1",
            "[::2]",
            "0.0.0.0",
            "",
            ":4320",
            "localhost, evil.example",
            "user@localhost",
            "evil.example#localhost",
            "localhost/",
            "l\u{f6}calhost",
        ] {
            assert_eq!(both(host), [421, 421], "{host}");
        }
        assert_eq!(both("192.168.7.7:1"), [200, 421]);
        for host in [
            "gateway.internal",
            "Gateway.Internal.:1",
            "10.1.2.3",
            "[2001:DB8::1]:4320",
        ] {
            assert_eq!(both(host), [421, 200], "{host}");
        }
        let without = |host: &str| {
            let head = Request::get("/").header(HOST, host).body(()).expect("a request");
            check(&head.into_parts().0, None).is_ok()
        };
        assert!(without("localhost") && !without("192.168.7.7"));
    }

    #[test]
    fn exactly_one_host_is_required_and_only_http_2_has_it_in_the_uri() {
        let admin = admin("127.0.0.1:4320", &["evil"]);
        for (version, uri, hosts, expected) in [
            (Version::HTTP_11, "/", &[][..], 421),
            (Version::HTTP_10, "/", &[], 421),
            (Version::HTTP_11, "/", &["localhost", "localhost"], 421),
            (Version::HTTP_11, "/", &["localhost", "evil"], 421),
            (Version::HTTP_11, "http://localhost/", &["localhost"], 421),
            (Version::HTTP_11, "http://localhost/", &[], 421),
            (Version::HTTP_2, "http://localhost/", &[], 200),
            (Version::HTTP_2, "http://localhost/", &["localhost"], 200),
            (Version::HTTP_2, "http://localhost/", &["127.0.0.1"], 421),
            (Version::HTTP_2, "http://other.example/", &["localhost"], 421),
            (Version::HTTP_2, "http://u@localhost/", &[], 421),
            (Version::HTTP_2, "/", &[], 421),
        ] {
            assert_eq!(
                status(&admin, version, uri, hosts),
                expected,
                "{version:?} {uri} {hosts:?}"
            );
        }
    }
}
