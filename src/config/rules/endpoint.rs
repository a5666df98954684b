//! Checked endpoint URLs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

/// An absolute `http` or `https` URL without user, query or fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Scheme and authority, without a slash at the end.
    origin: String,
    /// Path without a trailing slash. Empty if there is none.
    path: String,
}

/// Invalid endpoint URL. Does not include the text, which may contain a password or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("the URL contains a user or password; set the key with api_key")]
    UserInfo,
    #[error("invalid URL; expected one such as \"https://collector.example:4318\"")]
    Syntax,
    #[error("the URL must start with http:// or https://")]
    Scheme,
    #[error("the URL must not have a query or fragment")]
    Query,
}

impl Endpoint {
    pub(crate) fn new(text: &str) -> Result<Self, EndpointError> {
        check(text)?;
        Ok(Self::from_checked(text))
    }

    /// As [`new`](Self::new), for a text that was checked: a configuration is checked once, and its
    /// endpoints are read for each tracer.
    pub(crate) fn from_checked(text: &str) -> Self {
        debug_assert!(check(text).is_ok(), "an endpoint that was not checked");
        let (scheme, rest) = text.split_once("://").expect("a checked URL");
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let default_port = if scheme.eq_ignore_ascii_case("https") {
            ":443"
        } else {
            ":80"
        };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        let mut origin = text[..scheme.len() + "://".len() + authority.len()].to_owned();
        origin.make_ascii_lowercase();
        Self {
            origin,
            path: path.trim_end_matches('/').to_owned(),
        }
    }

    /// Returns the path, empty if there is none.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns scheme, host and port, without the port if it is the scheme's default.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns scheme, host without a trailing dot, and port.
    pub(crate) fn parts(&self) -> (&str, &str, u16) {
        let (scheme, authority) = self.origin.split_once("://").expect("an endpoint has a scheme");
        // Colons within brackets belong to an IPv6 address.
        let port = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
        let (host, port) = match port {
            Some(colon) => (
                &authority[..colon],
                authority[colon + 1..].parse().expect("a checked port"),
            ),
            None => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        (scheme, host.strip_suffix('.').unwrap_or(host), port)
    }

    /// Returns the host if it is an IP address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let (_, host, _) = self.parts();
        host.trim_matches(['[', ']']).parse().ok()
    }

    /// Returns the URL of a path on the same origin.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Creates an endpoint from a built-in URL.
    pub(crate) fn known(text: &'static str) -> Self {
        Self::new(text).expect("a valid built-in URL")
    }
}

fn check(text: &str) -> Result<(), EndpointError> {
    if text.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    if text.contains(['?', '#']) {
        return Err(EndpointError::Query);
    }
    let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Syntax)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(EndpointError::Scheme);
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('\\') || rest.starts_with(['/', ':']) {
        return Err(EndpointError::Syntax);
    }
    let uri: Uri = text.parse().map_err(|_| EndpointError::Syntax)?;
    let authority = uri.authority().ok_or(EndpointError::Syntax)?.as_str();
    let has_dots = uri.path().split('/').any(|segment| segment == "." || segment == "..");
    if !is_host_and_port(&authority.to_ascii_lowercase()) || has_dots {
        return Err(EndpointError::Syntax);
    }
    Ok(())
}

/// Checks host and port. The URI parser checks only the characters.
fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("ipv6", port),
        Some(_) => return false,
        None => authority
            .find(':')
            .map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    let is_port = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits && digits.parse::<u16>().is_ok_and(|port| port != 0)
    };
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(allowed)
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // If the last label is numeric, the host is an IPv4 address (WHATWG URL, "ends in a number").
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_host = if numeric {
        name.parse::<Ipv4Addr>().is_ok()
    } else {
        name.split('.').all(is_label)
    };
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
