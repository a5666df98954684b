//! Responses to refused requests.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{TenantErrorKind, grpc};

/// Creates a response without a body. It repeats nothing of the request.
pub(super) fn response(kind: TenantErrorKind, status: StatusCode, request: &HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    if !grpc::is_grpc(request) {
        *response.status_mut() = status;
        return response;
    }
    // A failed gRPC call has HTTP status 200. Without a body, the code is in the headers.
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
