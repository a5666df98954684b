//! Fuzz target: an answer of a receiver.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use secrecy::SecretString;

use super::judge::judge;
use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::exchange::{Answer, Reply, Truncation};
use crate::secret::{ApiKey, KeySource, SecretError, SecretSources, SentSecrets};

const URL: &str = "http://collector.test/v1/traces";
/// Spans of the request that is answered.
const SENT: u64 = 10;
/// The key of the request, and its password alone and in base64.
const KEY: &str = "user:secret-canary";
const HIDDEN: [&str; 2] = ["secretcanary", "dxnlcjpzzwnyzxqty2fuyxj5"];
/// Consecutive characters of a key that no error shows.
const MIN_MATCH: usize = 8;
/// Longest error: a content type and a message of 200 characters each, and the text around them.
const MAX_ERROR_CHARS: usize = 1000;

/// Judges an answer. Returns whether spans were delivered.
///
/// The input is `200` and headers, or `grpc 8` and a message, one a line; then an empty line and the
/// body, or the status details. A line `cut` makes the body a part of a longer one.
///
/// # Panics
/// Panics if a verdict contradicts its status, rejects more spans than were sent, or shows the key.
pub fn answer(data: &[u8]) -> bool {
    let end = data.windows(2).position(|end| end == b"\n\n").unwrap_or(data.len());
    let body = Bytes::copy_from_slice(data.get(end + 2..).unwrap_or_default());
    let mut lines = data[..end].split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default());
    if let Some(code) = first.strip_prefix("grpc ") {
        return grpc(
            code.parse().unwrap_or(2),
            &lines.collect::<Vec<_>>().join(&b'\n'),
            &body,
        );
    }
    let Ok(status) = StatusCode::from_bytes(first.as_bytes()) else {
        return false;
    };
    let (mut headers, mut truncation) = (HeaderMap::new(), None);
    for line in lines {
        if line == b"cut" {
            truncation = Some(Truncation::TooLarge);
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts
            .next()
            .and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let answer = Answer {
        status,
        headers,
        body,
        truncation,
    };
    let verdict = judged(Reply::Http(answer.clone()));
    let is_consistent = match status.as_u16() {
        200..=299 => matches!(verdict, Verdict::Delivered { .. } | Verdict::Drop { .. }),
        401 | 403 => matches!(verdict, Verdict::Deny { .. }),
        408 | 429 | 502..=504 => matches!(verdict, Verdict::Retry { .. }),
        500..=599 => matches!(verdict, Verdict::Retry { after: Some(_), .. } | Verdict::Fault { .. }),
        400..=499 => matches!(verdict, Verdict::Refuse { .. }),
        _ => matches!(verdict, Verdict::Drop { .. }),
    };
    assert!(is_consistent, "{status}: {verdict:?}");
    let is_protobuf = answer.headers.len() == 1
        && answer
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == "application/x-protobuf")
        && answer.body.first() == Some(&0x0a);
    if is_protobuf && status.is_success() && answer.truncation.is_none() {
        assert_rejected(&verdict, &answer.body);
    }
    matches!(verdict, Verdict::Delivered { .. })
}

#[cfg(feature = "grpc")]
fn grpc(code: i32, message: &[u8], body: &Bytes) -> bool {
    let message = String::from_utf8_lossy(message);
    let answer = match code {
        0 => Ok(body.clone()),
        _ => Err(Box::new(tonic::Status::with_details(
            code.into(),
            message,
            body.clone(),
        ))),
    };
    let verdict = judged(Reply::Grpc(answer));
    let is_delivered = matches!(verdict, Verdict::Delivered { .. });
    assert_eq!(is_delivered, code == 0);
    assert_eq!(matches!(verdict, Verdict::Deny { .. }), matches!(code, 7 | 16));
    if is_delivered {
        assert_rejected(&verdict, body);
    }
    is_delivered
}

#[cfg(not(feature = "grpc"))]
fn grpc(_: i32, _: &[u8], _: &Bytes) -> bool {
    false
}

/// Judges an answer, and checks what holds for every verdict.
fn judged(reply: Reply) -> Verdict {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let verdict = verdict(reply, now);
    let warning = match &verdict {
        Verdict::Delivered { rejected, warning } => {
            assert!(*rejected <= SENT);
            warning.as_ref()
        }
        failed => failed.failure(),
    };
    if let Some(error) = warning {
        let shown = error.to_string();
        assert!(
            !shown.contains(char::is_control) && shown.chars().count() < MAX_ERROR_CHARS,
            "{shown}"
        );
        for text in receiver_texts(error) {
            let letters = text.chars().filter(|c| c.is_alphanumeric());
            let plain: String = letters.flat_map(char::to_lowercase).collect();
            for hidden in HIDDEN {
                let mut parts = (0..=hidden.len() - MIN_MATCH).map(|at| &hidden[at..at + MIN_MATCH]);
                assert!(!parts.any(|part| plain.contains(part)), "{shown}");
            }
        }
    }
    verdict
}

/// Returns the parts of an error that may contain text of the receiver.
fn receiver_texts(error: &ExportError) -> Vec<&str> {
    match error {
        ExportError::Status { message, .. }
        | ExportError::Grpc { message, .. }
        | ExportError::PartialSuccess { message, .. } => message.iter().map(String::as_str).collect(),
        ExportError::NotOtlpResponse {
            content_type, message, ..
        } => content_type.iter().chain(message).map(String::as_str).collect(),
        ExportError::UnreadableAnswer { reason, .. } => vec![reason],
        ExportError::Redirect { .. } => Vec::new(),
        other => panic!("not the error of an answer: {other:?}"),
    }
}

fn verdict(reply: Reply, now: SystemTime) -> Verdict {
    judge(URL, Ok(reply), SENT, &SentSecrets::new(&key(), None), now)
}

fn key() -> ApiKey {
    let mut sources = SecretSources::default();
    sources.insert("fuzzing", |_: &str| Ok::<_, SecretError>(SecretString::from(KEY)));
    KeySource::provider("fuzzing", "key")
        .read(&sources)
        .expect("a valid key")
}

/// Compares the number of rejected spans with the one that `prost` decodes.
fn assert_rejected(verdict: &Verdict, body: &[u8]) {
    let Ok(response) = ExportTraceServiceResponse::decode(body) else {
        return;
    };
    let expected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
    let expected = u64::try_from(expected).unwrap_or(0).min(SENT);
    assert!(
        matches!(verdict, Verdict::Delivered { rejected, .. } if *rejected == expected),
        "{verdict:?}, {expected} rejected"
    );
}
