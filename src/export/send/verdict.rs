//! What an answer, or the lack of one, means for the spans that were sent.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered, whatever becomes of the body; spans named by a partial success are dropped as rejected and never repeated |
//! | 2xx that is no answer of a receiver, such as a login page; see `success` | dropped: refused |
//! | 401, 403 | denied: another key may be taken |
//! | 408, 429, 502, 503, 504; any 5xx with `Retry-After` | repeated, not before `Retry-After` |
//! | any other 5xx | a fault of the receiver, which may be about what the request carries |
//! | no connection, a broken one, no answer in time | repeated |
//! | 413 | refused, as too large: parts of it may be taken |
//! | any other 4xx | refused: parts of it may be taken |
//! | 3xx that was not followed, any other status | dropped: refused |
//!
//! With gRPC the status of gRPC counts, where there is one; see `grpc`.

#[cfg(feature = "grpc")]
mod grpc;
mod partial_success;
mod success;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::RETRY_AFTER;

use self::partial_success::PartialSuccess;
use crate::export::ExportError;
use crate::export::net::receiver_text::{harmless, text_of_page};
use crate::export::net::transport::{Answer, Reply};
use crate::ledger::DropReason;
use crate::secret::SentSecrets;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
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
    /// The receiver fails on it: it may be down, or it may be something that the request carries.
    Fault { error: ExportError },
    /// The key was refused: to be sent again with another one.
    Deny { error: ExportError },
    /// Not taken, and never will be as it is: another request might fare better for what it carries.
    Refuse { reason: DropReason, error: ExportError },
    /// Not taken, and never will be, whatever it carries.
    Drop { reason: DropReason, error: ExportError },
}

/// Judges one attempt at a request of `sent` spans.
pub(crate) fn judge(
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
        #[cfg(feature = "grpc")]
        Ok(Reply::NoGrpc(answer)) => success::no_receiver(url, &answer, secrets),
        Err(error) => Verdict::Repeat { after: None, error },
    }
}

fn of_http(url: &str, answer: &Answer, sent: u64, secrets: &SentSecrets<'_>, now: SystemTime) -> Verdict {
    let status = answer.status;
    if status.is_success() {
        return success::judge(url, answer, sent, secrets);
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
        message: harmless(&text_of(answer), secrets),
        retry_after: after,
    };
    let passing = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::Deny { error },
        _ if passing || status.is_server_error() && after.is_some() => Verdict::Repeat { after, error },
        _ if status.is_server_error() => Verdict::Fault { error },
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

/// What a receiver took, and what it says of it.
fn delivered(url: &str, partial: PartialSuccess, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
    let PartialSuccess {
        rejected_spans,
        error_message,
    } = partial;
    let rejected = u64::try_from(rejected_spans).unwrap_or(0).min(sent);
    let warning = (rejected > 0 || !error_message.is_empty()).then(|| ExportError::PartialSuccess {
        url: url.to_owned(),
        rejected,
        message: harmless(&error_message, secrets),
    });
    Verdict::Delivered { rejected, warning }
}

/// The body as a text to read. A page is its text alone.
fn text_of(answer: &Answer) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(&answer.body);
    if success::content_type(answer).to_ascii_lowercase().contains("html") {
        return text_of_page(&text).into();
    }
    text
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
