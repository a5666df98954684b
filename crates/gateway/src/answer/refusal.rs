//! Refusals, and their codes in HTTP and gRPC.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use tracer_registry::gateway::Limiter;

use crate::callers::{self, Reason};

/// Seconds after which a client may send a request again that the gateway had no room for.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// The request or its data is malformed: 400, `INVALID_ARGUMENT`.
    Malformed,
    /// The request has no known credential: 401, `UNAUTHENTICATED`.
    Unauthenticated,
    /// The caller may not address the tenant, or its data is erased: 403, `PERMISSION_DENIED`.
    Forbidden,
    /// The path is unknown: 404, `UNIMPLEMENTED`.
    NotFound,
    /// The path has another method: 405, `UNIMPLEMENTED`.
    MethodNotAllowed,
    /// The body arrived too slowly: 408, `DEADLINE_EXCEEDED`.
    TooSlow,
    /// The body is too large: 413, `RESOURCE_EXHAUSTED` without `RetryInfo`.
    TooLarge,
    /// The content type or encoding is not supported: 415, `UNIMPLEMENTED`.
    UnsupportedType,
    /// More than the quota of the tenant or the caller: 429 with `Retry-After`, `RESOURCE_EXHAUSTED` with `RetryInfo`.
    Quota,
    /// The gateway has no room now, or cannot store the data: 503 with `Retry-After`, `UNAVAILABLE` with `RetryInfo`.
    Unavailable,
}

/// `google.rpc.Code`.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

impl RefusalKind {
    /// All kinds, in the order of the declaration.
    pub(crate) const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::Quota,
        Self::Unavailable,
    ];

    /// Returns the name in status and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::UnsupportedType => "unsupported_type",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
        }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Quota => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the code in the body of an HTTP answer.
    pub(super) fn body_code(self) -> i32 {
        match self {
            Self::NotFound => code::NOT_FOUND,
            Self::UnsupportedType => code::INVALID_ARGUMENT,
            _ => self.grpc_code(),
        }
    }

    /// Returns the gRPC status. A path is a method in gRPC, and an encoding is a feature.
    pub(crate) fn grpc_code(self) -> i32 {
        match self {
            Self::Malformed => code::INVALID_ARGUMENT,
            Self::Unauthenticated => code::UNAUTHENTICATED,
            Self::Forbidden => code::PERMISSION_DENIED,
            Self::NotFound | Self::MethodNotAllowed | Self::UnsupportedType => code::UNIMPLEMENTED,
            Self::TooSlow => code::DEADLINE_EXCEEDED,
            Self::TooLarge | Self::Quota => code::RESOURCE_EXHAUSTED,
            Self::Unavailable => code::UNAVAILABLE,
        }
    }

    /// Whether the client should send the same request again.
    pub(super) fn may_be_retried(self) -> bool {
        matches!(self, Self::Quota | Self::Unavailable)
    }
}

/// A refusal with the message of its answer. The message contains no credential, and text of the
/// client only if it is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    /// Why it counts for the caller. `None` if it was counted already.
    pub(crate) reason: Option<Reason>,
    pub(crate) message: Cow<'static, str>,
    /// Seconds after which the client may send the request again, if it may.
    pub(super) retry_after: u16,
    /// Methods of the path, if the request has another one.
    pub(super) allowed_methods: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, message: impl Into<Cow<'static, str>>) -> Self {
        let reason = match kind {
            RefusalKind::Malformed => Reason::Malformed,
            RefusalKind::Unauthenticated => Reason::Unauthorized,
            RefusalKind::Forbidden => Reason::TenantNotAllowed,
            RefusalKind::NotFound | RefusalKind::MethodNotAllowed => Reason::OtherSignal,
            RefusalKind::TooSlow => Reason::Incomplete,
            RefusalKind::TooLarge => Reason::TooLarge,
            RefusalKind::UnsupportedType => Reason::UnsupportedType,
            RefusalKind::Quota => Reason::Quota,
            RefusalKind::Unavailable => Reason::NoCapacity,
        };
        Self {
            kind,
            reason: Some(reason),
            message: message.into(),
            retry_after: RETRY_AFTER_SECONDS,
            allowed_methods: None,
        }
    }

    pub(crate) fn method_not_allowed(methods: &'static str) -> Self {
        Self {
            allowed_methods: Some(methods),
            ..Self::new(RefusalKind::MethodNotAllowed, format!("the path allows only {methods}"))
        }
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Malformed, message)
    }

    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            RefusalKind::TooLarge,
            format!("the body is larger than {limit_bytes} bytes"),
        )
    }

    pub(crate) fn too_large_to_redact() -> Self {
        Self::new(
            RefusalKind::TooLarge,
            "the rules of the tenant change too many values at once; send fewer spans in a request",
        )
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(RefusalKind::TooSlow, "the body arrives too slowly")
    }

    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::UnsupportedType, message)
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Unavailable, message)
    }

    /// More than a quota allows, which may fit after this time. `of` is "tenant" or "caller".
    pub(crate) fn quota(of: &str, retry_after: Duration) -> Self {
        let retry_after = retry_after.min(Limiter::MAX_WAIT);
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX).max(1);
        Self {
            retry_after: seconds,
            ..Self::new(
                RefusalKind::Quota,
                format!("more than the quota of the {of} allows; retry after {seconds} s"),
            )
        }
    }

    /// The tenant is unknown. The answer is that of a tenant which the caller may not address, so
    /// that a caller with a pattern does not find out which tenants exist.
    pub(crate) fn unknown_tenant() -> Self {
        Self {
            reason: Some(Reason::NoBinding),
            ..callers::Refusal::TenantNotAllowed.into()
        }
    }

    /// The tenant's data was purged, and later data is not allowed again.
    pub(crate) fn erased() -> Self {
        Self {
            reason: Some(Reason::Erased),
            ..Self::new(RefusalKind::Forbidden, "the data of the tenant is erased")
        }
    }

    /// The client went away in the middle of the body.
    pub(crate) fn broken_off() -> Self {
        Self {
            reason: Some(Reason::Incomplete),
            ..Self::malformed("the body is broken off")
        }
    }

    /// The tenant of a request to the session API is unknown, because it has no resource.
    pub(crate) fn no_resource() -> Self {
        Self {
            reason: Some(Reason::NoTenant),
            ..Self::malformed("the caller's tenant is in a resource attribute, which the session API does not have")
        }
    }

    pub(crate) fn shutting_down() -> Self {
        Self::unavailable("the gateway is shutting down")
    }

    /// The client's next attempt may get to a replica that takes requests.
    pub(crate) fn only_sends() -> Self {
        Self::unavailable("this replica takes no requests: its role is to send")
    }

    /// The budget for the memory of all requests is used up.
    pub(crate) fn no_memory() -> Self {
        Self::unavailable("the gateway has no memory for this request now")
    }
}

impl From<callers::Refusal> for Refusal {
    fn from(refusal: callers::Refusal) -> Self {
        let kind = match refusal.status() {
            StatusCode::UNAUTHORIZED => RefusalKind::Unauthenticated,
            StatusCode::FORBIDDEN => RefusalKind::Forbidden,
            _ => RefusalKind::Malformed,
        };
        Self {
            reason: None,
            ..Self::new(kind, refusal.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_in_the_order_of_their_declaration() {
        for (index, kind) in RefusalKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn only_a_lack_of_room_or_quota_may_be_retried_and_no_refusal_is_an_internal_error() {
        for kind in RefusalKind::ALL {
            let status = kind.status().as_u16();
            assert_eq!(kind.may_be_retried(), [429, 503].contains(&status), "{kind:?}");
            assert_ne!(status, 500);
        }
    }

    #[test]
    fn the_time_to_wait_is_rounded_up_to_seconds_of_at_most_an_hour() {
        for (wait, seconds) in [
            (0, 1),
            (1, 1),
            (1000, 1),
            (1001, 2),
            (3_599_001, 3600),
            (u64::MAX, 3600),
        ] {
            let refusal = Refusal::quota("tenant", Duration::from_millis(wait));
            assert_eq!(refusal.retry_after, seconds, "{wait} ms");
        }
    }
}
