//! What of gRPC must be known to say how a call ended.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::util::grpc_code;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const CANCELLED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;

/// Whether a request, or its answer, is one of gRPC. Of gRPC-Web it is not: its status is in the body.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let after = content_type.and_then(|text| text.strip_prefix(b"application/grpc"));
    after.is_some_and(|after| matches!(after.first(), None | Some(b'+' | b';')))
}

/// The service and the method of a path like `/package.Service/Method`.
pub(super) fn method_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}

/// The code in the trailers, or in the headers of an answer without a body. One that is no code is [`UNKNOWN`].
pub(super) fn code(headers: &HeaderMap) -> Option<u8> {
    let text = headers.get(STATUS)?.to_str().ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN))
}

/// Whether a code says that no method was reached: there is none of that name, or nobody was asked for it.
pub(super) fn is_of_no_method(code: u8) -> bool {
    matches!(code, 12 | 16)
}

pub(super) fn name(code: u8) -> &'static str {
    grpc_code::name(code.into()).unwrap_or("_OTHER")
}

/// Whether a code is the server's own fault (semantic conventions for gRPC, "gRPC status").
pub(super) fn is_error_of_server(code: u8) -> bool {
    // Those that are not known are taken for UNKNOWN.
    matches!(code, 2 | 4 | 12..=15 | 17..)
}

/// The code that is the nearest to a status.
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
