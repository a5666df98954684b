//! The answer of each outcome.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use prost::Message;
use serde_json::json;

use super::body::AnswerBody;
use super::format::Format;
use super::refusal::{Refusal, RefusalKind};
use super::rpc_status::{ExportResponse, PartialSuccess, RpcStatus};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub(crate) type Answer = Response<AnswerBody>;

/// Returns the answer to an export. `rejected_spans` are spans that the gateway never takes.
pub(crate) fn exported(format: Format, rejected_spans: u64, message: &str) -> Answer {
    let partial = rejected_spans > 0;
    match format {
        Format::Protobuf | Format::Grpc => success(
            format,
            &ExportResponse {
                partial_success: partial.then(|| PartialSuccess {
                    rejected_spans: i64::try_from(rejected_spans).unwrap_or(i64::MAX),
                    error_message: message.to_owned(),
                }),
            }
            .encode_to_vec(),
        ),
        Format::Json if partial => {
            // 64-bit integers are strings in the JSON mapping of protobuf.
            let partial = json!({ "rejectedSpans": rejected_spans.to_string(), "errorMessage": message });
            success(format, json!({ "partialSuccess": partial }).to_string().as_bytes())
        }
        Format::Json => success(format, b"{}"),
    }
}

/// Returns a JSON object as the answer to a request of the session API.
pub(crate) fn json(object: &serde_json::Value) -> Answer {
    success(Format::Json, object.to_string().as_bytes())
}

/// Returns the answer to metrics or logs that are discarded: a full success, which is an empty
/// message for each signal.
pub(crate) fn discarded(format: Format) -> Answer {
    exported(format, 0, "")
}

fn success(format: Format, message: &[u8]) -> Answer {
    let body = match format {
        Format::Protobuf | Format::Json => AnswerBody::new(Bytes::copy_from_slice(message), None),
        Format::Grpc => {
            let mut framed = BytesMut::with_capacity(5 + message.len());
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            framed.put_slice(message);
            let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
            AnswerBody::new(framed.freeze(), Some(trailers))
        }
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, format.content_type());
    answer
}

/// Returns the answer of a refusal.
pub(crate) fn refused(format: Format, refusal: &Refusal) -> Answer {
    match format {
        Format::Grpc => refused_grpc(refusal),
        Format::Protobuf | Format::Json => refused_http(format, refusal),
    }
}

fn refused_http(format: Format, refusal: &Refusal) -> Answer {
    let (code, message) = (refusal.kind.body_code(), &*refusal.message);
    let body = match format {
        Format::Json => json!({ "code": code, "message": message }).to_string().into(),
        Format::Protobuf | Format::Grpc => RpcStatus::new(code, message).encode_to_vec().into(),
    };
    refused_with(format, body, refusal)
}

/// Returns the answer of a refusal to a client of another API than OTLP, always in JSON. Clients of
/// HoneyHive show `message`, and those of Logfire `detail`.
pub(crate) fn refused_api(refusal: &Refusal) -> Answer {
    let (code, message) = (refusal.kind.body_code(), &*refusal.message);
    let body = json!({ "code": code, "message": message, "detail": message });
    refused_with(Format::Json, body.to_string().into(), refusal)
}

fn refused_with(format: Format, body: Bytes, refusal: &Refusal) -> Answer {
    let mut answer = Response::new(AnswerBody::new(body, None));
    *answer.status_mut() = refusal.kind.status();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    if refusal.kind.may_be_retried() {
        headers.insert(RETRY_AFTER, refusal.retry_after.into());
    }
    if refusal.kind == RefusalKind::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(methods) = refusal.allowed_methods {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    answer
}

/// Returns a trailers-only answer: without a message, the status is in the headers.
fn refused_grpc(refusal: &Refusal) -> Answer {
    let Refusal { kind, message, .. } = refusal;
    let mut answer = Response::new(AnswerBody::default());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, Format::Grpc.content_type());
    headers.insert(GRPC_STATUS, kind.grpc_code().into());
    let mut insert = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    insert(GRPC_MESSAGE, &percent_encoded(message));
    if kind.may_be_retried() {
        let status = RpcStatus::new(kind.grpc_code(), message).retry_after(refusal.retry_after.into());
        insert(GRPC_DETAILS, &STANDARD_NO_PAD.encode(status.encode_to_vec()));
    }
    if *kind == RefusalKind::UnsupportedType {
        insert(GRPC_ACCEPT_ENCODING, "identity,gzip,zstd");
    }
    answer
}

/// Percent-encodes a text for `grpc-message`, as the gRPC protocol specifies.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            if matches!(byte, b' '..=b'~') && byte != b'%' {
                encoded.push(char::from(byte));
            } else {
                write!(encoded, "%{byte:02X}").expect("a string takes all text");
            }
            encoded
        })
}

/// Returns a plain text, for health checks.
pub(crate) fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(AnswerBody::new(Bytes::from_static(text.as_bytes()), None));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encoded("100% \u{e4}\n~"), "100%25 %C3%A4%0A~");
    }
}
