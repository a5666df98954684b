//! A checked URL of a destination.

use std::fmt;

use http::Uri;

/// An absolute `http` or `https` URL without user, query or fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Scheme and authority, without a slash at the end.
    origin: String,
    /// The path without a slash at the end; empty where none was given.
    path: String,
}

/// Why a text is no endpoint. The text itself is repeated only where it cannot hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("the URL has a user or password in it; the key is sent in a header, say where it comes from with api_key")]
    UserInfo,
    #[error("{0:?} is no URL such as \"https://collector.example:4318\"")]
    Syntax(String),
    #[error("{0:?} is no http:// or https:// URL")]
    Scheme(String),
    #[error("{0:?} has a query or fragment; an endpoint has neither")]
    Query(String),
    #[cfg(not(feature = "tls"))]
    #[error("{0:?} needs TLS, and this program was built without the feature `tls` of tracer-registry")]
    NoTls(String),
}

impl Endpoint {
    pub(super) fn new(text: &str) -> Result<Self, EndpointError> {
        if text.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        if text.contains(['?', '#']) {
            return Err(EndpointError::Query(text.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::Syntax(text.to_owned()))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EndpointError::Syntax(text.to_owned()));
        };
        match scheme {
            "http" => {}
            #[cfg(feature = "tls")]
            "https" => {}
            #[cfg(not(feature = "tls"))]
            "https" => return Err(EndpointError::NoTls(text.to_owned())),
            _ => return Err(EndpointError::Scheme(text.to_owned())),
        }
        if authority.host().is_empty() {
            return Err(EndpointError::Syntax(text.to_owned()));
        }
        Ok(Self {
            origin: format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The path it was given, empty where it has none.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The URL of a path at the same scheme, host and port.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// An endpoint out of the table of backends.
    pub(crate) fn known(text: &'static str) -> Self {
        let (scheme, rest) = text.split_once("://").expect("the table of backends has absolute URLs");
        let (host, path) = rest
            .split_once('/')
            .map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        Self {
            origin: format!("{scheme}://{host}"),
            path,
        }
    }
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
