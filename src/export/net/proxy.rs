//! A proxy, and the way through it: CONNECT for what is encrypted, the request itself for what is not.

use std::hash::{Hash, Hasher};

use http::{HeaderValue, Uri};

use crate::secret::{ApiKey, Fingerprint, KeyScheme, KeySource};

/// What connections go through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// `http://`, host and port.
    origin: String,
    credentials: Option<Credentials>,
}

/// `user:password`, and what tells them apart from others.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) source: KeySource,
    pub(crate) key: ApiKey,
    pub(crate) fingerprint: Fingerprint,
}

/// By source too: what two tenants say separately is never one for a chance likeness of fingerprints.
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

    /// The value of `Proxy-Authorization` (RFC 9110, 11.7.2).
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        Some(credentials.key.header_value(KeyScheme::Basic))
    }

    /// The credentials as they were read.
    pub(crate) fn credentials(&self) -> Option<&ApiKey> {
        self.credentials.as_ref().map(|credentials| &credentials.key)
    }
}
