//! The parts of gRPC that tell how a call ended.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::util::grpc_code;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const CANCELLED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;

/// Returns whether a request, or its answer, is one of gRPC. gRPC-Web is not, because its status is in the body.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let after = content_type.and_then(|text| text.strip_prefix(b"application/grpc"));
    after.is_some_and(|after| matches!(after.first(), None | Some(b'+' | b';')))
}

/// The service and the method of a path like `/package.Service/Method`.
pub(super) fn method_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// The code in the trailers, or in the headers of an answer without a body. A code that cannot be read is [`UNKNOWN`].
pub(super) fn code(headers: &HeaderMap) -> Option<u8> {
    let text = headers.get(STATUS)?.to_str().ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN))
}

/// Returns whether a code says that no method was reached: there is none of that name, or the caller is not authenticated.
pub(super) fn is_of_no_method(code: u8) -> bool {
    matches!(code, 12 | 16)
}

pub(super) fn name(code: u8) -> &'static str {
    grpc_code::name(code.into()).unwrap_or("_OTHER")
}

/// Returns whether a code is an error of the server (semantic conventions for gRPC, "gRPC status").
pub(super) fn is_error_of_server(code: u8) -> bool {
    // Unknown codes count as UNKNOWN.
    matches!(code, 2 | 4 | 12..=15 | 17..)
}

/// The nearest code to an HTTP status.
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
