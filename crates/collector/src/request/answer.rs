//! Responses of the collector, in the format of the request.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use serde::Serialize;
use serde_json::json;

use super::rpc_status::RpcStatus;
use crate::model::Format;
use crate::otlp::ParseError;

/// Reason for refusing a request. Nothing of a refused request is stored.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    /// Whether a retry may succeed soon.
    is_temporary: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            is_temporary: false,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("body exceeds {limit_bytes} bytes"),
        )
    }

    /// The memory limit of all requests is reached.
    pub(crate) fn busy() -> Self {
        Self {
            is_temporary: true,
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "memory limit of all requests reached: try again later",
            )
        }
    }

    pub(crate) fn late() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timed out reading the body")
    }

    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "request has no API key")
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns a response with a `google.rpc.Status`, which OTLP requires in every error response.
    pub(crate) fn to_response(&self, format: Format) -> Response {
        let mut response = rpc_status(self.status, &self.message, format);
        if self.is_temporary {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        let status = match error {
            ParseError::Invalid(_) => StatusCode::BAD_REQUEST,
            ParseError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

/// Returns a response with a `google.rpc.Status` and the gRPC code for the HTTP status.
pub(crate) fn rpc_status(status: StatusCode, message: &str, format: Format) -> Response {
    let code = grpc_code(status);
    match format {
        Format::Protobuf | Format::Grpc => protobuf(status, &RpcStatus::new(code, message)),
        Format::Json => json(status, &json!({ "code": code, "message": message })),
    }
}

/// Returns the gRPC code for an HTTP status:
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
pub(crate) fn grpc_code(status: StatusCode) -> i32 {
    match status.as_u16() {
        400 | 415 => 3,
        401 => 16,
        403 | 421 => 7,
        404 => 5,
        405 => 12,
        408 => 4,
        413 | 429 => 8,
        502..=504 => 14,
        _ => 2,
    }
}

/// Returns the response to an export. For full success it is an empty message, as the specification
/// requires.
pub(crate) fn exported(rejected_spans: u64, error_message: &str, format: Format) -> Response {
    let partial = rejected_spans > 0;
    match format {
        Format::Protobuf | Format::Grpc => {
            let rejected_spans = i64::try_from(rejected_spans).unwrap_or(i64::MAX);
            let success = ExportTracePartialSuccess {
                rejected_spans,
                error_message: error_message.to_owned(),
            };
            protobuf(
                StatusCode::OK,
                &ExportTraceServiceResponse {
                    partial_success: partial.then_some(success),
                },
            )
        }
        Format::Json if partial => {
            // 64-bit integers are strings in the JSON mapping of protobuf.
            let success = json!({ "rejectedSpans": rejected_spans.to_string(), "errorMessage": error_message });
            json(StatusCode::OK, &json!({ "partialSuccess": success }))
        }
        Format::Json => json(StatusCode::OK, &json!({})),
    }
}

/// Returns the response for an unknown path.
pub(crate) fn not_found(path: &str) -> Response {
    error(
        StatusCode::NOT_FOUND,
        &format!("unknown path {path:?}: GET / lists the paths"),
    )
}

/// Returns the response for a wrong method.
pub(crate) fn method_not_allowed(allowed: &[Method]) -> Response {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response = error(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("method not allowed: use {list}"),
    );
    if let Ok(value) = HeaderValue::from_str(&list) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// Returns an error as `{"error": ..}`, for requests that are not OTLP.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({ "error": message }))
}

pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => with_type(status, "application/json", body),
        Err(fault) => with_type(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", fault.to_string()),
    }
}

pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn protobuf(status: StatusCode, message: &impl prost::Message) -> Response {
    with_type(status, "application/x-protobuf", message.encode_to_vec())
}
