//! Verdicts on HTTP answers.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | delivered, even if the body cannot be read; spans rejected by a partial success are dropped as rejected and not retried |
//! | 2xx that is not an OTLP response, such as a login page; see `success` | dropped: refused |
//! | 401, 403 | denied: another key may be accepted |
//! | 408, 429, 502, 503, 504; any 5xx with `Retry-After` | retried, not before `Retry-After` |
//! | any other 5xx | fault of the receiver, possibly caused by the content of the request |
//! | no connection, a broken one, a timeout | retried |
//! | 413 | refused, as too large: parts of it may be accepted |
//! | any other 4xx | refused: parts of it may be accepted |
//! | 3xx that was not followed, any other status | dropped: refused |
//!
//! For gRPC, the gRPC status counts if there is one; see `grpc`.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::RETRY_AFTER;

#[cfg(feature = "grpc")]
use super::grpc;
use super::success::{self, text_of};
use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::exchange::{Answer, Reply};
use crate::export::net::receiver_text::sanitize;
use crate::ledger::DropReason;
use crate::secret::SentSecrets;

/// Returns the verdict on one attempt at a request of `sent` spans.
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
        Ok(Reply::NotGrpc(answer)) => success::not_otlp_response(url, &answer, secrets),
        Err(error) => Verdict::Retry { after: None, error },
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
        message: sanitize(&text_of(answer), secrets),
        retry_after: after,
    };
    let temporary = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::Deny { error },
        _ if temporary || status.is_server_error() && after.is_some() => Verdict::Retry { after, error },
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

/// Parses `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let text = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}
