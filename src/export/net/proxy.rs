//! A proxy. TLS connections use CONNECT; plain HTTP requests are forwarded.

use std::hash::{Hash, Hasher};

use http::{HeaderValue, Uri};

use crate::secret::{ApiKey, Fingerprint, KeyScheme, KeySource};

/// A proxy for connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// `http://`, host and port.
    origin: String,
    credentials: Option<Credentials>,
}

/// Credentials `user:password`, with source and fingerprint to compare them.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) source: KeySource,
    pub(crate) key: ApiKey,
    pub(crate) fingerprint: Fingerprint,
}

/// Compares source and fingerprint, so that a fingerprint collision never merges two tenants'
/// credentials.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        (self.fingerprint, &self.source) == (other.fingerprint, &other.source)
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl Proxy {
    pub(crate) fn new(origin: String, credentials: Option<Credentials>) -> Self {
        Self { origin, credentials }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn uri(&self) -> Uri {
        self.origin.parse().expect("the configuration was checked")
    }

    /// Returns the value of `Proxy-Authorization` (RFC 9110, 11.7.2).
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        Some(credentials.key.header_value(KeyScheme::Basic))
    }

    /// Returns the credentials.
    pub(crate) fn credentials(&self) -> Option<&ApiKey> {
        self.credentials.as_ref().map(|credentials| &credentials.key)
    }
}
