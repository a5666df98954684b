//! Recognizes gRPC calls and their status.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::util::grpc_code;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const CANCELLED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;

/// Returns whether headers are those of a gRPC request or response. Excludes gRPC-Web, because its
/// status is in the body.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let after = content_type.and_then(|text| text.strip_prefix(b"application/grpc"));
    after.is_some_and(|after| matches!(after.first(), None | Some(b'+' | b';')))
}

/// Returns the service and the method of a path like `/package.Service/Method`.
pub(super) fn method_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// Returns the code in trailers, or in the headers of a response without a body. An unreadable code
/// is [`UNKNOWN`].
pub(super) fn code(headers: &HeaderMap) -> Option<u8> {
    let text = headers.get(STATUS)?.to_str().ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN))
}

/// Returns whether a code means that no method was reached: UNIMPLEMENTED or UNAUTHENTICATED.
pub(super) fn is_no_method_reached(code: u8) -> bool {
    matches!(code, 12 | 16)
}

pub(super) fn name(code: u8) -> &'static str {
    grpc_code::name(code.into()).unwrap_or("_OTHER")
}

/// Returns whether a code is a server error by the semantic conventions for gRPC.
pub(super) fn is_server_error(code: u8) -> bool {
    // Unknown codes count as UNKNOWN.
    matches!(code, 2 | 4 | 12..=15 | 17..)
}

/// Returns the gRPC code nearest to an HTTP status.
pub(super) fn nearest(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 | 421 | 422 => 3,
        401 => 16,
        403 => 7,
        404 | 410 => 5,
        429 => 8,
        503 => 14,
        500..=599 => 13,
        _ => 2,
    }
}
