//! Reasons why a request is refused before its body is read.

use http::StatusCode;

use super::counts::Reason;

/// Reason why a request has no caller, or its caller may not address its tenant. The message names
/// no tenant, caller or credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential, or one that is malformed, unknown or revoked.
    #[error("missing or unknown credential")]
    Unauthorized,
    /// More than one credential.
    #[error("more than one credential")]
    SeveralCredentials,
    /// No tenant, although the caller must name one.
    #[error("the request names no tenant")]
    NoTenant,
    /// The tenant's header is repeated.
    #[error("the request names more than one tenant")]
    RepeatedTenant,
    /// The tenant's header is not UTF-8.
    #[error("the tenant is not valid UTF-8")]
    InvalidTenant,
    /// The caller may not address this tenant, or the path names another one.
    #[error("the caller may not address this tenant")]
    TenantNotAllowed,
}

impl Refusal {
    /// Returns the status of the answer. In gRPC, 401 is `UNAUTHENTICATED`, 403 is
    /// `PERMISSION_DENIED` and 400 is `INVALID_ARGUMENT`.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TenantNotAllowed => StatusCode::FORBIDDEN,
            Self::SeveralCredentials | Self::NoTenant | Self::RepeatedTenant | Self::InvalidTenant => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// Returns the reason under which it is counted.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unauthorized => Reason::Unauthorized,
            Self::SeveralCredentials => Reason::SeveralCredentials,
            Self::NoTenant => Reason::NoTenant,
            Self::RepeatedTenant => Reason::RepeatedTenant,
            Self::InvalidTenant => Reason::InvalidTenant,
            Self::TenantNotAllowed => Reason::TenantNotAllowed,
        }
    }
}
