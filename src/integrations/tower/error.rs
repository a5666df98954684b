//! Errors that leave a request without a tracer.

use crate::registry::LookupError;
use crate::selector::SelectorError;

/// The reason why the tracer of a request cannot be resolved.
///
/// A message contains at most 32 characters of the request, escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The request lacks the header, host, segment or extension.
    #[error("request has no tenant identifier")]
    Missing,
    /// The header is present more than once, even with the same value, or URL and header name
    /// different hosts.
    #[error("request names its tenant more than once")]
    Repeated,
    /// The header is not UTF-8.
    #[error("tenant identifier of the request is not UTF-8")]
    NotText,
    /// The host, in the URL or in the header, is not `host` or `host:port`.
    #[error("host of the request is not `host` or `host:port`")]
    NotAHost,
    /// The identifier is not a valid name: empty, too long, or with a forbidden character.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The look-up failed.
    #[error(transparent)]
    Lookup(LookupError),
}

/// The kind of a [`TenantError`]. A [`TenantLayer`](super::TenantLayer) has a
/// [`Fallback`](super::Fallback) for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantErrorKind {
    /// The request has no tenant identifier. Default: refused with 400.
    Missing,
    /// The identifier is duplicated, or is not a valid text, host or name. Default: refused with
    /// 400.
    Bad,
    /// The tenant is not configured. Default: refused with 404.
    Unknown,
    /// The tracer is unavailable: its key or its binding cannot be read, the pool is full, or the
    /// registry was shut down. Default: refused with 503.
    Unavailable,
}

impl TenantError {
    /// Returns the kind of the error.
    pub fn kind(&self) -> TenantErrorKind {
        match self {
            Self::Missing => TenantErrorKind::Missing,
            Self::Repeated | Self::NotText | Self::NotAHost | Self::Selector(_) => TenantErrorKind::Bad,
            Self::Lookup(error) if error.is_unknown() => TenantErrorKind::Unknown,
            Self::Lookup(_) => TenantErrorKind::Unavailable,
        }
    }
}

impl From<LookupError> for TenantError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Selector(error) => Self::Selector(error),
            other => Self::Lookup(other),
        }
    }
}
