//! Refusals of the admin listener, as JSON.

use std::borrow::Cow;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tracer_registry::config::ConfigProblem;

use crate::answer::{Answer, AnswerBody};

/// Longest text of a request that a message repeats, in characters.
const SHOWN_CHARS: usize = 64;
/// Longest text of a program in an answer, in bytes.
const MAX_TEXT: usize = 4096;
/// Most faults in an answer.
const MAX_FAULTS: usize = 1_000;
/// Seconds until a client without a permit may ask again.
const RETRY_SECONDS: u16 = 1;

/// Message for a selector that has no tracer.
pub(super) const NO_TRACER: &str = "no tracer since the start; the first data creates it";

/// A request that is refused. The message contains no token, and what it repeats of the request is
/// bounded.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The reason for the log: contains no text of the request, which may be a misplaced token.
    pub(super) logged: &'static str,
    /// Methods of the path, if the request has another one.
    allow: Option<HeaderValue>,
    /// Faults of the configuration.
    faults: Vec<Value>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let logged = match message {
            Cow::Borrowed(message) => message,
            Cow::Owned(_) => reason_of(status),
        };
        Self {
            status,
            message: message.into_owned(),
            logged,
            allow: None,
            faults: Vec::new(),
        }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The request is sound, but what it asks for is not possible now.
    pub(super) fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn method_not_allowed(methods: &str) -> Self {
        Self {
            allow: HeaderValue::from_str(methods).ok(),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("the path allows only {methods}"),
            )
        }
    }

    /// Refuses a parameter.
    pub(super) fn parameter(message: String) -> Self {
        Self {
            logged: "a parameter is unknown, repeated or not valid",
            ..Self::bad_request(message)
        }
    }

    /// Adds faults of the configuration, which contain no value of a setting.
    pub(super) fn with_faults(mut self, problems: &[ConfigProblem]) -> Self {
        self.faults = faults(problems);
        self
    }

    pub(super) fn answer(&self) -> Answer {
        let mut error = json!({"status": self.status.as_u16(), "message": self.message});
        if !self.faults.is_empty() {
            error["faults"] = self.faults.as_slice().into();
        }
        let body = format!("{}\n", json!({"error": error}));
        let mut answer = Response::new(AnswerBody::new(body.into(), None));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(methods) = &self.allow {
            headers.insert(ALLOW, methods.clone());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        answer
    }
}

/// Returns the reason of a status, for a message that may have text of the request.
fn reason_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "the head or the selector is not valid",
        StatusCode::UNAUTHORIZED => "it has no token, or an unknown one",
        StatusCode::NOT_FOUND => "the tenant is unknown or has no tracer",
        StatusCode::METHOD_NOT_ALLOWED => "the path has another method",
        StatusCode::CONFLICT => "the configuration or a source of keys does not allow it now",
        StatusCode::MISDIRECTED_REQUEST => "it is for a host that is not allowed",
        _ => "it cannot be answered now",
    }
}

/// Returns the first faults of a configuration in JSON.
pub(super) fn faults(problems: &[ConfigProblem]) -> Vec<Value> {
    let fault =
        |problem: &ConfigProblem| json!({"file": problem.file(), "key": problem.key(), "message": problem.message()});
    problems.iter().take(MAX_FAULTS).map(fault).collect()
}

/// Returns the start of a text.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let is_start = |at: &usize| text.is_char_boundary(*at);
        text.truncate((0..=MAX_TEXT).rev().find(is_start).unwrap_or(0));
        text.push_str("..");
    }
    text
}

/// Returns the start of a text of the request, quoted and escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    format!("{shown:?}")
}
