//! The host that a request is for.

use http::header::HOST;
use http::request::Parts;

use super::TenantError;

/// A host without its brackets, and the port if one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// As written in a `Host` header or before the path of a URL.
    pub(super) fn new(text: &'a str) -> Self {
        let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
        if let Some((host, after)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            let port = after.strip_prefix(':').and_then(|port| port.parse().ok());
            return Self { host, port };
        }
        match text.rsplit_once(':') {
            Some((host, port)) => Self {
                host,
                port: port.parse().ok(),
            },
            None => Self { host: text, port: None },
        }
    }

    /// Of a request: HTTP/2's `:authority`, or the URL's, else the `Host` header.
    ///
    /// # Errors
    /// [`TenantError::Repeated`] where it is said twice, and not the same: who stands before this server may have gone by the other one.
    pub(super) fn of(request: &'a Parts) -> Result<Option<Self>, TenantError> {
        let in_url = request.uri.authority().map(|authority| Self::new(authority.as_str()));
        let mut headers = request.headers.get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(TenantError::Repeated);
        }
        let Some(header) = header else {
            return Ok(in_url);
        };
        let in_header = Self::new(header.to_str().map_err(|_| TenantError::NotText)?);
        match in_url {
            Some(in_url) if !in_url.host.eq_ignore_ascii_case(in_header.host) => Err(TenantError::Repeated),
            Some(in_url) => Ok(Some(in_url)),
            None => Ok(Some(in_header)),
        }
    }
}
