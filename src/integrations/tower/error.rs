//! Why a request has no tracer.

use crate::registry::LookupError;
use crate::selector::SelectorError;

/// Why a request has no tracer of its own.
///
/// What the request said is repeated, if at all, cut to 32 characters and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// There is no such header, host, segment or extension.
    #[error("the request does not say whose it is")]
    Missing,
    /// The header is there more than once, be it with the same value; or the host is said twice, and not the same.
    #[error("the request says more than once whose it is")]
    Repeated,
    /// The header's bytes are no UTF-8 text.
    #[error("what says whose the request is, is not UTF-8 text")]
    NotText,
    /// The host, in the URL or in the header, is not `host` or `host:port`.
    #[error("what the request says as its host is none")]
    NotAHost,
    /// What was said is no name: empty, too long, with characters that names do not have.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The look-up gave no tracer.
    #[error(transparent)]
    Lookup(LookupError),
}

/// What kind of trouble a [`TenantError`] is; for each there is an [`Fallback`](super::Fallback).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantErrorKind {
    /// The request does not say whose it is. Refused with 400 unless told otherwise.
    Missing,
    /// What it says cannot be a tenant: said twice, not text, no host, no name. Refused with 400 unless told otherwise.
    Bad,
    /// There is no such tenant. Refused with 404 unless told otherwise.
    Unknown,
    /// The tenant's tracer cannot be had now: its key or its binding cannot be read, the pool is full, the registry was shut down. Refused with
    /// 503 unless told otherwise.
    Unavailable,
}

impl TenantError {
    /// What kind of trouble it is.
    pub fn trouble(&self) -> TenantErrorKind {
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
