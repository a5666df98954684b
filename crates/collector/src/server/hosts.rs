//! Hosts that requests may be for.
//!
//! A browser page cannot set the `Host` header. So requests of a page with a name that resolves to
//! this machine (DNS rebinding) have the page's host and are refused.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri};

use crate::request::answer::Refusal;

/// Allows every host.
const ANY: &str = "*";

/// Allowed hosts: loopback, the listen address, and hosts from the settings.
pub(crate) struct Hosts {
    listen_address: IpAddr,
    allowed: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(listen_address: IpAddr, allowed: &[String]) -> Self {
        Self {
            listen_address,
            allowed: allowed
                .iter()
                .map(|host| normalized(host).to_ascii_lowercase())
                .collect(),
        }
    }

    /// Refuses a request for another host, or without a host.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.allowed.iter().any(|host| host == ANY) {
            return Ok(());
        }
        let mut named = headers.get_all(HOST).iter();
        let named = match (uri.authority(), named.next(), named.next()) {
            // HTTP/2 and proxy requests have the host in the URI.
            (Some(authority), ..) => Some(authority.clone()),
            (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
            _ => None,
        };
        match named {
            Some(named) if self.allows(named.host()) => Ok(()),
            Some(named) => Err(Self::refusal(&format!(
                "host {:?} is not allowed: use loopback, or allow it with allow_host (--allow-host)",
                named.host()
            ))),
            None => Err(Self::refusal("request must have exactly one host")),
        }
    }

    fn refusal(message: &str) -> Refusal {
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, message)
    }

    fn allows(&self, host: &str) -> bool {
        let host = normalized(host).to_ascii_lowercase();
        let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
        address.is_ok_and(|address| address.is_loopback() || address == self.listen_address.to_canonical())
            || host == "localhost"
            || self.allowed.contains(&host)
    }
}

/// Removes the brackets of an IPv6 address and the trailing dot of a name.
fn normalized(host: &str) -> &str {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &Hosts, uri: &str, named: &[&str]) -> u16 {
        let headers = named.iter().map(|host| (HOST, host.parse().unwrap()));
        let checked = hosts.check(
            &uri.parse().unwrap(),
            &headers.fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            }),
        );
        checked.map_or_else(|refusal| refusal.status(), |()| 200)
    }

    #[test]
    fn only_loopback_listen_address_and_configured_hosts_are_allowed() {
        let plain = Hosts::new("192.168.7.7".parse().unwrap(), &[]);
        let configured = Hosts::new(
            "0.0.0.0".parse().unwrap(),
            &["Collector".to_owned(), "10.1.2.3".to_owned()],
        );
        for host in [
            "localhost",
            "LOCALHOST:4318",
            "localhost.",
            "127.0.0.1",
            "127.31.7.9:1",
            "[::1]",
            "[::1]:4318",
            "[::ffff:127.0.0.1]:4318",
        ] {
            assert_eq!(
                (status(&plain, "/", &[host]), status(&configured, "/", &[host])),
                (200, 200),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:4318",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "128.0.0.1",
            "[::2]",
            "",
            "localhost@evil.example",
            "evil.example#localhost",
        ] {
            assert_eq!(
                (status(&plain, "/", &[host]), status(&configured, "/", &[host])),
                (421, 421),
                "{host}"
            );
        }
        assert_eq!(
            (
                status(&plain, "/", &["192.168.7.7:4318"]),
                status(&configured, "/", &["192.168.7.7"])
            ),
            (200, 421)
        );
        for host in ["collector", "COLLECTOR.:4318", "10.1.2.3:4318", "0.0.0.0:1"] {
            assert_eq!(
                (status(&plain, "/", &[host]), status(&configured, "/", &[host])),
                (421, 200),
                "{host}"
            );
        }
        assert_eq!(
            status(
                &Hosts::new("::1".parse().unwrap(), &["*".to_owned()]),
                "/",
                &["evil.example"]
            ),
            200
        );
    }

    #[test]
    fn the_uri_overrides_the_header_and_exactly_one_host_is_required() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &[]);
        assert_eq!(status(&hosts, "http://evil.example/", &["localhost"]), 421);
        assert_eq!(status(&hosts, "http://localhost/", &[]), 200);
        assert_eq!(status(&hosts, "/", &[]), 421);
        assert_eq!(status(&hosts, "/", &["localhost", "evil.example"]), 421);
    }
}
