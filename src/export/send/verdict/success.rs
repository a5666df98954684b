//! Verdicts on HTTP success answers.
//!
//! | body | content type | verdict |
//! |---|---|---|
//! | empty, a response in protobuf or JSON, or only the status text ("OK") | any | delivered |
//! | anything else, or a truncated response | none, protobuf or JSON | delivered, with a warning |
//! | anything else | any other, such as that of a login page | dropped: refused |
//!
//! A receiver that answers success has stored the spans, so a bad body must never cause a retry.
//! Rejected spans are counted from the part of the body received.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, StatusCode};

use super::partial_success::PartialSuccess;
use super::verdict::Verdict;
use crate::export::error::ExportError;
use crate::export::net::exchange::{Answer, Truncation};
use crate::export::net::receiver_text::{sanitize, sanitize_reason, text_of_page};
use crate::ledger::DropReason;
use crate::secret::SentSecrets;

/// Content of a body, possibly truncated.
enum Content {
    /// Empty, or only the status text.
    Nothing,
    Response(PartialSuccess),
    Other,
}

pub(crate) fn judge(url: &str, answer: &Answer, sent: u64, secrets: &SentSecrets<'_>) -> Verdict {
    let partial = match content(answer) {
        Content::Other if !is_otlp_content_type(content_type(answer)) => {
            return not_otlp_response(url, answer, secrets);
        }
        Content::Other => None,
        Content::Nothing => Some(PartialSuccess::default()),
        Content::Response(partial) => Some(partial),
    };
    let unread_reason = unread_reason(answer, partial.is_none());
    let verdict = partial.unwrap_or_default().verdict(url, sent, secrets);
    match (verdict, unread_reason) {
        (
            Verdict::Delivered {
                rejected: 0,
                warning: None,
            },
            Some(reason),
        ) => Verdict::Delivered {
            rejected: 0,
            warning: Some(ExportError::UnreadableAnswer {
                url: url.to_owned(),
                status: answer.status.as_u16(),
                reason: sanitize_reason(&reason, secrets),
            }),
        },
        (verdict, _) => verdict,
    }
}

/// Returns the verdict on a success that is not an OTLP response. Other spans would get the same
/// answer.
pub(crate) fn not_otlp_response(url: &str, answer: &Answer, secrets: &SentSecrets<'_>) -> Verdict {
    Verdict::Drop {
        reason: DropReason::Refused,
        error: ExportError::NotOtlpResponse {
            url: url.to_owned(),
            status: answer.status.as_u16(),
            content_type: sanitize(content_type(answer), secrets),
            message: sanitize(&text_of(answer), secrets),
        },
    }
}

fn content(answer: &Answer) -> Content {
    let body = answer.body.trim_ascii();
    if body.is_empty() {
        return Content::Nothing;
    }
    if is_encoded(answer) {
        return Content::Other;
    }
    let is_cut = answer.truncation.is_some();
    // Almost any two bytes parse as protobuf, and any number as JSON. With another content type,
    // the body must start like a response: an object, or the only field.
    let is_familiar = is_otlp_content_type(content_type(answer));
    let json = (is_familiar || body[0] == b'{').then(|| PartialSuccess::of_json(body, is_cut));
    let partial = json.flatten().or_else(|| {
        let may_be = is_familiar || answer.body[0] == PartialSuccess::FIRST_BYTE;
        may_be
            .then(|| PartialSuccess::of_protobuf(&answer.body, is_cut))
            .flatten()
    });
    match partial {
        Some(partial) => Content::Response(partial),
        None if is_status_text(answer.status, body) => Content::Nothing,
        None => Content::Other,
    }
}

/// Returns why an answer was not read completely, if so.
fn unread_reason(answer: &Answer, is_unknown: bool) -> Option<String> {
    let length = answer.body.len();
    Some(match &answer.truncation {
        Some(Truncation::TooLarge) => format!("truncated after {length} bytes"),
        Some(Truncation::TimedOut(timeout)) => format!("incomplete after {timeout:?}, {length} bytes received"),
        Some(Truncation::Broken(reason)) => format!("connection broke after {length} bytes: {reason}"),
        None if is_unknown && is_encoded(answer) => "compressed without being requested".to_owned(),
        None if is_unknown => "neither protobuf nor JSON".to_owned(),
        None => return None,
    })
}

/// Returns whether the body is only "OK" or the status text, ignoring case.
fn is_status_text(status: StatusCode, body: &[u8]) -> bool {
    let words = body.strip_suffix(b".").or(body.strip_suffix(b"!")).unwrap_or(body);
    let reason = status.canonical_reason().unwrap_or_default();
    [reason, "OK"]
        .iter()
        .any(|known| words.eq_ignore_ascii_case(known.as_bytes()))
}

/// Returns whether OTLP receivers answer with this content type: none, JSON or protobuf.
fn is_otlp_content_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let subtype = essence.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    essence.is_empty() || subtype.ends_with("json") || subtype.ends_with("protobuf")
}

fn is_encoded(answer: &Answer) -> bool {
    let encoding = header(answer, CONTENT_ENCODING);
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")
}

/// Returns the body as text, without markup if it is an HTML page.
pub(super) fn text_of(answer: &Answer) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(&answer.body);
    if content_type(answer).to_ascii_lowercase().contains("html") {
        return text_of_page(&text).into();
    }
    text
}

fn content_type(answer: &Answer) -> &str {
    header(answer, CONTENT_TYPE)
}

/// Returns a header's value, "unreadable" if it is not text, or an empty string if there is none.
fn header(answer: &Answer, name: HeaderName) -> &str {
    let value = answer.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap_or("unreadable"))
}
