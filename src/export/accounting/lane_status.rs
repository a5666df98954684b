//! Status of a tracer's requests: destination, progress, errors, refused spans.

use std::collections::BTreeMap;
use std::time::SystemTime;

use opentelemetry::trace::{SpanId, TraceId};
use serde::{Deserialize, Serialize};
#[cfg(feature = "spool")]
use tracer_registry_spool::Kind;

use crate::config::{BackendName, Compression, Protocol};
use crate::export::net::receiver_text::sanitize_name;
use crate::ledger::DropReason;
use crate::secret::{ApiKey, SentSecrets};
use crate::selector::Selector;
use crate::util::wall_time;

/// Destination of a tracer's spans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationStatus {
    /// URL that spans are sent to, with path. Has no credentials or query: the configuration
    /// refuses both.
    pub endpoint: String,
    /// Kind of destination.
    pub backend: BackendName,
    /// How spans are encoded and sent.
    pub protocol: Protocol,
    /// How bodies are compressed.
    pub compression: Compression,
}

/// A tracer that gets copies of another tracer's spans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CopyStatus {
    /// Its selector.
    pub selector: Selector,
    /// Whether it exists. If not, because its key cannot be read for example, copies are lost and
    /// count as `no_tracer` in its ledger.
    pub works: bool,
}

/// How many values redaction changed or dropped. Texts, numbers and booleans count alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RedactionStatus {
    /// Values that a rule changed or dropped, by its name. Rules of several tables with one name
    /// count together, and a value counts for each rule that matched.
    pub rules: BTreeMap<String, u64>,
    /// Decisions of [redactors](crate::RegistryBuilder::redactor) to replace or drop a value.
    pub redactors: u64,
    /// Values that were dropped because a redactor panicked.
    pub redactor_panics: u64,
    /// Values that were dropped because no rule could be applied to them: too large, too deep, or not
    /// text.
    pub unreadable: u64,
}

impl RedactionStatus {
    /// Returns whether nothing was changed or dropped.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the sum of all counts.
    pub(crate) fn total(&self) -> u64 {
        self.rules.values().sum::<u64>() + self.redactors + self.redactor_panics + self.unreadable
    }

    /// Adds the counts of another tracer of the selector.
    pub(super) fn add(&mut self, other: &Self) {
        for (rule, count) in &other.rules {
            match self.rules.get_mut(rule) {
                Some(sum) => *sum += count,
                None => drop(self.rules.insert(rule.clone(), *count)),
            }
        }
        self.redactors += other.redactors;
        self.redactor_panics += other.redactor_panics;
        self.unreadable += other.unreadable;
    }
}

/// Kind of data in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestKind {
    /// A batch of spans.
    Spans,
    /// The start or an enrichment of a session.
    SessionEvents,
}

/// Status of a request in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestStatus {
    /// Kind of data in the request.
    pub kind: RequestKind,
    /// When the request began, including its waits, or when a pause ended that it waited for.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// Current state.
    pub state: RequestState,
    /// Number of the current or next attempt, from 1. Each half of a split batch starts at 1.
    pub attempt: u32,
    /// When that attempt is due. `None` during the attempt, and if it depends on other requests: on
    /// a permit, or on the probe of a breaker.
    #[serde(with = "wall_time::optional")]
    pub next_attempt: Option<SystemTime>,
    /// Wait requested in the receiver's last answer (`Retry-After`, `RetryInfo`), in milliseconds,
    /// before any limit is applied.
    pub asked_wait_ms: Option<u64>,
}

/// State of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestState {
    /// Waits for a permit: the number of concurrent requests is limited.
    WaitsForPermit,
    /// Waits at an open breaker, or for the end of a wait that the receiver requested.
    WaitsAtBreaker,
    /// Waits because the selector is [paused](crate::TracerRegistry::pause).
    Paused,
    /// Sent, without an answer yet.
    Sent,
    /// Failed, and waits for its next attempt.
    WaitsToRetry,
}

/// A series of failed attempts of one kind without a success in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorsStatus {
    /// Kind of data in the requests.
    pub kind: RequestKind,
    /// Time of the first failure.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// Time of the last failure.
    #[serde(with = "wall_time")]
    pub last: SystemTime,
    /// Number of failures. A wait at a breaker that other requests opened counts once.
    pub count: u64,
    /// Time of the next success of that kind without a warning. `None` while the series is ongoing.
    #[serde(with = "wall_time::optional")]
    pub over: Option<SystemTime>,
}

/// The last span that the receiver refused when sent alone, as `refused` or `too_large`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusedSpan {
    /// Name: the first 100 characters on one line, with control and invisible characters as blanks.
    /// Withheld if it may contain the tracer's key.
    pub name: String,
    /// Trace id, as 32 hexadecimal digits.
    pub trace_id: String,
    /// Span id, as 16 hexadecimal digits.
    pub span_id: String,
    /// Size of the request with only this span, in bytes before compression.
    pub bytes: u64,
    /// Why it was dropped.
    pub reason: DropReason,
    /// When it was refused.
    #[serde(with = "wall_time")]
    pub at: SystemTime,
}

impl RequestKind {
    /// Returns the kind of rows with this data.
    #[cfg(feature = "spool")]
    pub(crate) fn of_rows(self) -> Kind {
        match self {
            Self::Spans => Kind::Spans,
            Self::SessionEvents => Kind::SessionEvents,
        }
    }

    /// Returns the name used in status and log.
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
            state: RequestState::WaitsForPermit,
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
    pub(crate) fn new(name: &str, ids: (TraceId, SpanId), bytes: usize, reason: DropReason, key: &ApiKey) -> Self {
        Self {
            name: sanitize_name(name, &SentSecrets::new(key, None)),
            trace_id: ids.0.to_string(),
            span_id: ids.1.to_string(),
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
    use crate::secret::{KeySource, SecretError, SecretSources};

    #[test]
    fn the_name_of_a_refused_span_is_shortened_sanitized_and_never_the_key() {
        let mut sources = SecretSources::default();
        sources.insert("test", |_: &str| Ok::<_, SecretError>(SecretString::from("hh_canary")));
        let key = KeySource::provider("test", "acme").read(&sources).expect("a key");
        let ids = (TraceId::INVALID, SpanId::INVALID);
        let name = |name: &str| RefusedSpan::new(name, ids, 1, DropReason::Refused, &key).name;
        assert_eq!(name("GET /users/{id}"), "GET /users/{id}");
        assert_eq!(name("\u{1b}[31mred\r\nline\u{202e}txt"), "[31mred  line txt");
        assert_eq!(name(&"ä".repeat(1_000)), "ä".repeat(100));
        assert_eq!(name("of hh_canary"), "name withheld: 12 bytes that may contain the key");
    }
}
