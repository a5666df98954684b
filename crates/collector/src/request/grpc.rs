//! OTLP over gRPC: frames of requests, and the translation of responses.
//!
//! A gRPC request is served like an HTTP request, and its response is translated at the end. So
//! checks, counts and faults are the same for both.

use std::future::ready;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message as _;

use super::answer::{Refusal, grpc_code};
use super::rpc_status::RpcStatus;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
/// One byte with the compressed flag, and four with the length of the message.
const PREFIX_BYTES: usize = 5;

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(GRPC.as_bytes());
    headers.get(CONTENT_TYPE).is_some_and(is_grpc)
}

/// Returns the only message of a request, and its compression.
pub(crate) fn unframe<'a>(headers: &'a HeaderMap, body: &Bytes) -> Result<(Option<&'a HeaderValue>, Bytes), Refusal> {
    let refuse = |reason: &str| Refusal::bad_request(format!("invalid gRPC message: {reason}"));
    let (prefix, message) = body
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or_else(|| refuse("shorter than the prefix"))?;
    let [compressed, length @ ..] = *prefix;
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(refuse("length does not match the prefix"));
    }
    let encoding = match compressed {
        0 => None,
        1 => Some(
            headers
                .get("grpc-encoding")
                .ok_or_else(|| refuse("compressed without grpc-encoding"))?,
        ),
        _ => return Err(refuse("compressed flag is neither 0 nor 1")),
    };
    Ok((encoding, body.slice(PREFIX_BYTES..)))
}

/// Translates an HTTP response to gRPC. Returns redirects unchanged, because gRPC has none.
pub(crate) async fn translate(response: Response) -> Response {
    let status = response.status();
    if status.is_redirection() {
        return response;
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let mut translated = if status.is_success() {
        success(&body)
    } else {
        failure(status, retry_after, &body)
    };
    translated.headers_mut().insert(CONTENT_TYPE, GRPC);
    translated
}

fn success(message: &[u8]) -> Response {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    let trailers = HeaderMap::from_iter([(STATUS.parse().expect("a name"), HeaderValue::from_static("0"))]);
    let body = Full::new(framed.freeze()).with_trailers(ready(Some(Ok(trailers))));
    Response::new(Body::new(body))
}

/// Returns a trailers-only response: without a message, the status is in the headers.
fn failure(status: StatusCode, retry_after: Option<i64>, body: &Bytes) -> Response {
    let code = match status {
        // An unknown path is UNIMPLEMENTED in gRPC.
        StatusCode::NOT_FOUND => 12,
        _ => grpc_code(status),
    };
    let text = match RpcStatus::decode(body.clone()) {
        Ok(status) if status.code != 0 => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let text = match status {
        // The text of gRPC servers. The code alone could also mean an exceeded quota.
        StatusCode::PAYLOAD_TOO_LARGE => format!("received message larger than max: {text}"),
        _ => text,
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(STATUS, code.into());
    if let Ok(value) = HeaderValue::from_str(&header_text(&text)) {
        headers.insert("grpc-message", value);
    }
    // A gRPC client does not retry RESOURCE_EXHAUSTED without RetryInfo.
    let retry_after = retry_after.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(0));
    if let Some(seconds) = retry_after {
        let details = RpcStatus::retry_after(code, &text, seconds).encode_to_vec();
        if let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(details)) {
            headers.insert("grpc-status-details-bin", value);
        }
    }
    response
}

fn seconds(retry_after: &HeaderValue) -> Option<i64> {
    retry_after.to_str().ok()?.parse().ok()
}

/// Percent-encodes a text for a header:
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>
fn header_text(text: &str) -> String {
    const ENCODED: AsciiSet = CONTROLS.add(b'%');
    utf8_percent_encode(text, &ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_frames_are_removed_and_invalid_ones_refused() {
        let compressed = HeaderMap::from_iter([("grpc-encoding".parse().unwrap(), "gzip".parse().unwrap())]);
        let plain = HeaderMap::new();
        let (encoding, message) = unframe(&compressed, &Bytes::from_static(b"\x01\0\0\0\x02ab")).unwrap();
        assert_eq!(
            (encoding.unwrap(), &message[..]),
            (&HeaderValue::from_static("gzip"), &b"ab"[..])
        );
        let (encoding, message) = unframe(&compressed, &Bytes::from_static(b"\0\0\0\0\0")).unwrap();
        assert_eq!((encoding, &message[..]), (None, &b""[..]));
        for wrong in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
            b"\x02\0\0\0\0",
            b"\x01\0\0\0\0",
        ] {
            let refusal = unframe(&plain, &Bytes::copy_from_slice(wrong)).unwrap_err();
            assert_eq!(refusal.status(), 400, "{wrong:?}");
        }
    }

    #[test]
    fn header_text_is_percent_encoded() {
        assert_eq!(header_text("100% \u{e4}\n~"), "100%25 %C3%A4%0A~");
    }
}
