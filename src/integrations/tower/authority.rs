//! Parses the host of a request.

use std::net::Ipv6Addr;

use http::header::HOST;
use http::request::Parts;

use super::TenantError;

/// A host without brackets, and the port if present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `uri-host [ ":" port ]`, as in a `Host` header or a URL. Rejects anything else,
    /// because a proxy may interpret it differently.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, after) = if let Some(text) = text.strip_prefix('[') {
            let (host, after) = text.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, after)
        } else {
            let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
            host.bytes().all(may_be_in_host).then_some((host, after))?
        };
        let port = match after.strip_prefix(':') {
            None => after.is_empty().then_some(None)?,
            // RFC 3986 allows an empty port.
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Returns the authority of a request: that of the URL (`:authority` in HTTP/2), else the
    /// `Host` header.
    ///
    /// # Errors
    /// [`TenantError::Repeated`] if two hosts differ, because a proxy may have used the other one.
    /// [`TenantError::NotAHost`] if one is neither `host` nor `host:port`.
    pub(super) fn of(request: &'a Parts) -> Result<Option<Self>, TenantError> {
        let parse = |text| Self::parse(text).ok_or(TenantError::NotAHost);
        let in_url = request.uri.authority().map(|authority| parse(authority.as_str()));
        let in_url = in_url.transpose()?;
        let mut headers = request.headers.get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(TenantError::Repeated);
        }
        let Some(header) = header else {
            return Ok(in_url);
        };
        let in_header = parse(header.to_str().map_err(|_| TenantError::NotText)?)?;
        match in_url {
            Some(in_url) if !in_url.host.eq_ignore_ascii_case(in_header.host) => Err(TenantError::Repeated),
            Some(in_url) => Ok(Some(in_url)),
            None => Ok(Some(in_header)),
        }
    }
}

/// Returns whether RFC 3986 allows this byte in the name of a host.
fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}
