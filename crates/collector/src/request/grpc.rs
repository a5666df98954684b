//! OTLP over gRPC: what is around the message of a request, and the answer in gRPC's words.
//!
//! A request is served as if it had come by HTTP, and its answer is translated at the end. So both
//! are checked, counted and made to suffer faults in the same way.

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

const SPOKEN: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: &str = "grpc-status";
/// One byte that says whether the message is compressed, and four with its length.
const PREFIX_BYTES: usize = 5;

pub(crate) fn is_spoken(headers: &HeaderMap) -> bool {
    let spoken = |value: &HeaderValue| value.as_bytes().starts_with(SPOKEN.as_bytes());
    headers.get(CONTENT_TYPE).is_some_and(spoken)
}

/// The one message of a request, and how it is compressed.
pub(crate) fn unframe<'a>(headers: &'a HeaderMap, body: &Bytes) -> Result<(Option<&'a HeaderValue>, Bytes), Refusal> {
    let refuse = |what: &str| Refusal::bad_request(format!("the body is no message of gRPC: {what}"));
    let (prefix, message) = body
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or_else(|| refuse("it is shorter than a message's prefix"))?;
    let [compressed, length @ ..] = *prefix;
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(refuse("its length is not the one that it says"));
    }
    let encoding = match compressed {
        0 => None,
        1 => Some(
            headers
                .get("grpc-encoding")
                .ok_or_else(|| refuse("it is compressed, and no grpc-encoding says how"))?,
        ),
        _ => return Err(refuse("its first byte is neither 0 nor 1")),
    };
    Ok((encoding, body.slice(PREFIX_BYTES..)))
}

/// An answer by HTTP as one by gRPC. A redirect stays what it is: gRPC has none.
pub(crate) async fn translate(answer: Response) -> Response {
    let status = answer.status();
    if status.is_redirection() {
        return answer;
    }
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(seconds);
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    let mut translated = if status.is_success() {
        taken(&body)
    } else {
        refused(status, retry_after, &body)
    };
    translated.headers_mut().insert(CONTENT_TYPE, SPOKEN);
    translated
}

fn taken(message: &[u8]) -> Response {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    let trailers = HeaderMap::from_iter([(STATUS.parse().expect("a name"), HeaderValue::from_static("0"))]);
    let body = Full::new(framed.freeze()).with_trailers(ready(Some(Ok(trailers))));
    Response::new(Body::new(body))
}

/// Without a message, so that what is elsewhere in the trailers is in the headers.
fn refused(status: StatusCode, retry_after: Option<i64>, body: &Bytes) -> Response {
    let code = match status {
        // A path that is not known is UNIMPLEMENTED in gRPC.
        StatusCode::NOT_FOUND => 12,
        _ => grpc_code(status),
    };
    let text = match RpcStatus::decode(body.clone()) {
        Ok(status) if status.code != 0 => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let text = match status {
        // As the servers of gRPC say it: the status is that of a quota as well.
        StatusCode::PAYLOAD_TOO_LARGE => format!("received message larger than max: {text}"),
        _ => text,
    };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(STATUS, code.into());
    if let Ok(value) = HeaderValue::from_str(&header_text(&text)) {
        headers.insert("grpc-message", value);
    }
    // A client gives up on a 429 unless the status says when to try again.
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

/// Encodes a text for a header: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>
fn header_text(text: &str) -> String {
    const ENCODED: AsciiSet = CONTROLS.add(b'%');
    utf8_percent_encode(text, &ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_out_of_what_is_around_it_and_nothing_else_is() {
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
    fn a_text_that_a_header_cannot_carry_is_encoded() {
        assert_eq!(header_text("100% \u{e4}\n~"), "100%25 %C3%A4%0A~");
    }
}
