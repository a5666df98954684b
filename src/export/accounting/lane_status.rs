//! What a status shows of a tracer's requests: where they go, what went wrong, what was refused.

use std::time::SystemTime;

use opentelemetry_sdk::trace::SpanData;
use serde::{Deserialize, Serialize};

use crate::config::{BackendName, Compression, Protocol};
use crate::export::net::receiver_text::harmless_name;
use crate::ledger::DropReason;
use crate::secret::{ApiKey, SentSecrets};
use crate::util::wall_time;

/// Where a tracer's spans go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationStatus {
    /// URL that spans are sent to, with its path. Never has credentials or a query: an endpoint with either is refused.
    pub endpoint: String,
    /// Kind of destination.
    pub backend: BackendName,
    /// How spans are encoded and sent.
    pub protocol: Protocol,
    /// How bodies are compressed.
    pub compression: Compression,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestKind {
    /// A batch of spans.
    Spans,
    /// The start of a session, or what is added to one.
    SessionEvents,
}

/// A request that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestStatus {
    /// What it carries.
    pub kind: RequestKind,
    /// Since when it is under way, its waits included.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// What it does at this moment.
    pub state: RequestState,
    /// Number of the attempt that is under way, or comes next. The first is 1. Each half of a batch that was divided begins anew.
    pub attempt: u32,
    /// When that attempt is due. `None` while it is under way, and if it depends on other requests: on a place, or on the one that tries for
    /// all at a breaker.
    #[serde(with = "wall_time::optional")]
    pub next_attempt: Option<SystemTime>,
    /// The wait that the receiver asked for in its last answer to it (`Retry-After`, `RetryInfo`), in milliseconds, as it was asked for.
    pub asked_wait_ms: Option<u64>,
}

/// What a request does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestState {
    /// It waits for a place among the requests that may be sent at the same time.
    WaitsForPlace,
    /// It waits at an open breaker, or until the time that the receiver asked for.
    WaitsAtBreaker,
    /// It is sent, and has no answer yet.
    Sent,
    /// It failed, and waits for its next attempt.
    WaitsToRepeat,
}

/// A row of failed requests of one kind, one attempt each, without a success in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorsStatus {
    /// What the requests carried.
    pub kind: RequestKind,
    /// When the first of them failed.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// When the last of them failed.
    #[serde(with = "wall_time")]
    pub last: SystemTime,
    /// How many failed. A wait at a breaker that others opened counts once.
    pub count: u64,
    /// When the receiver next took a request of that kind without a complaint. `None` while the failures go on.
    #[serde(with = "wall_time::optional")]
    pub over: Option<SystemTime>,
}

/// The last span that the receiver refused by itself: as `refused` or `too_large`, sent alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusedSpan {
    /// Its name: the first 100 characters, on one line, control and invisible characters as blanks. Withheld if it may repeat the tracer's key.
    pub name: String,
    /// Its trace, as 32 hexadecimal digits.
    pub trace_id: String,
    /// Its id, as 16 hexadecimal digits.
    pub span_id: String,
    /// Size of the request that carried it alone, in bytes, before compression.
    pub bytes: u64,
    /// Why it was dropped.
    pub reason: DropReason,
    /// When it was refused.
    #[serde(with = "wall_time")]
    pub at: SystemTime,
}

impl RequestKind {
    /// As status and log call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::SessionEvents => "session_events",
        }
    }
}

impl RequestStatus {
    pub(crate) fn new(kind: RequestKind) -> Self {
        Self {
            kind,
            since: wall_time::to_millis(SystemTime::now()),
            state: RequestState::WaitsForPlace,
            attempt: 1,
            next_attempt: None,
            asked_wait_ms: None,
        }
    }

    pub(crate) fn change(&mut self, state: RequestState, next_attempt: Option<SystemTime>) {
        (self.state, self.next_attempt) = (state, next_attempt);
    }
}

impl RefusedSpan {
    pub(crate) fn new(span: &SpanData, bytes: usize, reason: DropReason, key: &ApiKey) -> Self {
        Self {
            name: harmless_name(&span.name, &SentSecrets::new(key, None)),
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            bytes: bytes as u64,
            reason,
            at: wall_time::to_millis(SystemTime::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::export::test_fixtures::span;
    use crate::secret::{KeySource, SecretError, SecretSources};

    #[test]
    fn the_name_of_a_refused_span_is_bounded_harmless_and_no_key() {
        let mut sources = SecretSources::default();
        sources.insert("test", |_: &str| Ok::<_, SecretError>(SecretString::from("hh_canary")));
        let key = KeySource::provider("test", "acme").read(&sources).expect("a key");
        let name = |name: &str| RefusedSpan::new(&span(name.to_owned()), 1, DropReason::Refused, &key).name;
        assert_eq!(name("GET /users/{id}"), "GET /users/{id}");
        assert_eq!(name("\u{1b}[31mred\r\nline\u{202e}txt"), "[31mred  line txt");
        assert_eq!(name(&"ä".repeat(1_000)), "ä".repeat(100));
        assert_eq!(name("of hh_canary"), "name withheld: 12 bytes that may repeat the key");
    }
}
