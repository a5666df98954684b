//! Answers to requests that are not served.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{TenantErrorKind, grpc};

/// An answer without a body. What the request said is not repeated.
pub(super) fn response(trouble: TenantErrorKind, status: StatusCode, request: &HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    if !grpc::is_call(request) {
        *response.status_mut() = status;
        return response;
    }
    // A call that failed is a success of HTTP; the code is in the headers where there is no body.
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::STATUS, HeaderValue::from(u16::from(grpc::nearest(status))));
    headers.insert(grpc::MESSAGE, HeaderValue::from_static(message(trouble)));
    response
}

fn message(trouble: TenantErrorKind) -> &'static str {
    match trouble {
        TenantErrorKind::Missing => "the request does not say whose it is",
        TenantErrorKind::Bad => "what says whose the request is cannot be a tenant",
        TenantErrorKind::Unknown => "there is no such tenant",
        TenantErrorKind::Unavailable => "the tenant cannot be traced now",
    }
}
