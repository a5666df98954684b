//! Answers to requests that are not served.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{TenantErrorKind, grpc};

/// An answer without a body, which repeats nothing of the request.
pub(super) fn response(kind: TenantErrorKind, status: StatusCode, request: &HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    if !grpc::is_call(request) {
        *response.status_mut() = status;
        return response;
    }
    // A gRPC call that failed is a success of HTTP. Without a body, the code is in the headers.
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::STATUS, HeaderValue::from(u16::from(grpc::nearest(status))));
    headers.insert(grpc::MESSAGE, HeaderValue::from_static(message(kind)));
    response
}

fn message(kind: TenantErrorKind) -> &'static str {
    match kind {
        TenantErrorKind::Missing => "request has no tenant identifier",
        TenantErrorKind::Bad => "tenant identifier of the request is not valid",
        TenantErrorKind::Unknown => "no such tenant",
        TenantErrorKind::Unavailable => "tenant is not available for tracing",
    }
}
