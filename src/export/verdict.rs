//! What an answer, or the lack of one, means for the spans that were sent.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered; spans named by a partial success are dropped as rejected and never repeated |
//! | 401, 403 | denied: another key may be taken |
//! | 408, 429, 5xx | repeated, after `Retry-After` where that is later than the back-off |
//! | no connection, a broken one, no answer in time | repeated |
//! | 413 | refused, as too large: parts of it may be taken |
//! | any other 4xx | refused: parts of it may be taken |
//! | 3xx that was not followed, any other status | dropped: refused |
//!
//! With gRPC the status of gRPC counts, where there is one; see `grpc`.

#[cfg(feature = "grpc")]
mod grpc;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

use super::ExportError;
use super::receiver_text::harmless;
use super::transport::{Answer, Reply};
use crate::ledger::DropReason;
use crate::secret::SentSecrets;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken; the receiver rejected some of its spans.
    Delivered {
        rejected: u64,
        warning: Option<ExportError>,
    },
    /// To be sent again, not before `after` where the server said so.
    Repeat {
        after: Option<Duration>,
        error: ExportError,
    },
    /// The key was refused: to be sent again with another one.
    Deny { error: ExportError },
    /// Not taken, and never will be as it is: another request might fare better for what it carries.
    Refuse { reason: DropReason, error: ExportError },
    /// Not taken, and never will be, whatever it carries.
    Drop { reason: DropReason, error: ExportError },
}

/// Judges one attempt at a request of `sent` spans.
pub(super) fn judge(
    url: &str,
    attempt: Result<Reply, ExportError>,
    sent: u64,
    secrets: &SentSecrets<'_>,
    now: SystemTime,
) -> Verdict {
    match attempt {
        Ok(Reply::Http(answer)) => of_http(url, &answer, sent, secrets, now),
        #[cfg(feature = "grpc")]
        Ok(Reply::Grpc(answer)) => grpc::judge(url, answer, sent, secrets),
        Err(error) => Verdict::Repeat { after: None, error },
    }
}

fn of_http(url: &str, answer: &Answer, sent: u64, secrets: &SentSecrets<'_>, now: SystemTime) -> Verdict {
    let status = answer.status;
    if status.is_success() {
        return delivered(url, partial_success(answer), sent, secrets);
    }
    if status.is_redirection() {
        let error = ExportError::Redirect {
            url: url.to_owned(),
            status: status.as_u16(),
        };
        return Verdict::Drop {
            reason: DropReason::Refused,
            error,
        };
    }
    let after = retry_after(answer, now);
    let error = ExportError::Status {
        url: url.to_owned(),
        status: status.as_u16(),
        message: harmless(&String::from_utf8_lossy(&answer.body), secrets),
        retry_after: after,
    };
    let passing = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::Deny { error },
        _ if passing || status.is_server_error() => Verdict::Repeat { after, error },
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::Refuse {
            reason: DropReason::TooLarge,
            error,
        },
        _ if status.is_client_error() => Verdict::Refuse {
            reason: DropReason::Refused,
            error,
        },
        _ => Verdict::Drop {
            reason: DropReason::Refused,
            error,
        },
    }
}

/// Success is the status; the body is read for a partial success only where it can be parsed.
fn delivered(url: &str, partial: Option<(i64, String)>, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
    let (rejected, message) = partial.unwrap_or_default();
    let rejected = u64::try_from(rejected).unwrap_or(0).min(sent);
    let warning = (rejected > 0 || !message.is_empty()).then(|| ExportError::PartialSuccess {
        url: url.to_owned(),
        rejected,
        message: harmless(&message, secrets),
    });
    Verdict::Delivered { rejected, warning }
}

fn partial_success(answer: &Answer) -> Option<(i64, String)> {
    let content_type = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_json = content_type.starts_with("application/json") || answer.body.first() == Some(&b'{');
    if is_json {
        return json_partial_success(&serde_json::from_slice(&answer.body).ok()?);
    }
    protobuf_partial_success(answer.body.clone())
}

fn protobuf_partial_success(body: Bytes) -> Option<(i64, String)> {
    let response: ExportTraceServiceResponse = prost::Message::decode(body).ok()?;
    let partial = response.partial_success?;
    Some((partial.rejected_spans, partial.error_message))
}

/// By hand: in JSON a 64-bit integer is a text, and many servers send a number (protobuf's JSON mapping allows both to be read).
fn json_partial_success(response: &serde_json::Value) -> Option<(i64, String)> {
    let partial = response.get("partialSuccess")?.as_object()?;
    let rejected = match partial.get("rejectedSpans") {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0),
        Some(number) => number.as_i64().unwrap_or(0),
        None => 0,
    };
    let message = partial.get("errorMessage").and_then(serde_json::Value::as_str);
    Some((rejected, message.unwrap_or_default().to_owned()))
}

/// `Retry-After` in both its forms: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let text = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}
