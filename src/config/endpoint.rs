//! A checked URL of a destination.

use std::fmt;

use reqwest::Url;

/// An absolute `http` or `https` URL without user, query or fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Scheme and authority, without a slash at the end.
    origin: String,
    /// The path without a slash at the end; empty where none was given.
    path: String,
}

/// Why a text is no endpoint. The text itself is not repeated: a password or a key may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("the URL has a user or password in it; the key is sent in a header, say where it comes from with api_key")]
    UserInfo,
    #[error("no URL such as \"https://collector.example:4318\"")]
    Syntax,
    #[error("no http:// or https:// URL")]
    Scheme,
    #[error("the URL has a query or fragment; an endpoint has neither")]
    Query,
    #[cfg(not(feature = "tls"))]
    #[error("the URL needs TLS, and this program was built without the feature `tls` of tracer-registry")]
    NoTls,
}

impl Endpoint {
    pub(super) fn new(text: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::parse(text)?;
        #[cfg(not(feature = "tls"))]
        if endpoint.origin.starts_with("https:") {
            return Err(EndpointError::NoTls);
        }
        Ok(endpoint)
    }

    fn parse(text: &str) -> Result<Self, EndpointError> {
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
        // The URL standard's parser repairs much of this; what is written here should be what was meant.
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('\\') || rest.starts_with(['/', ':']) {
            return Err(EndpointError::Syntax);
        }
        let url = Url::parse(text).map_err(|_| EndpointError::Syntax)?;
        if url.port() == Some(0) {
            return Err(EndpointError::Syntax);
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            path: url.path().trim_end_matches('/').to_owned(),
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
        Self::parse(text).expect("the table of backends has valid URLs")
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
