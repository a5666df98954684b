//! Description of a simulated fault.

use std::fmt;
use std::time::Duration;

use crate::model::Endpoint;

/// A simulated fault, for [`LocalCollector::fault`](crate::LocalCollector::fault).
///
/// Applies to every request with a key until it is cleared, unless restricted by
/// [`only`](Self::only), [`on`](Self::on), [`when_body_contains`](Self::when_body_contains) or
/// [`times`](Self::times). Data of the request is stored only with [`delay`](Self::delay),
/// [`hang`](Self::hang), [`lose_answer`](Self::lose_answer), [`truncate`](Self::truncate) and
/// [`partial_success`](Self::partial_success).
#[derive(Clone)]
pub struct Fault {
    pub(crate) action: Action,
    pub(crate) delay: Duration,
    pub(crate) key: Option<String>,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) body_contains: Option<String>,
    pub(crate) times: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Serve,
    Answer(Answer),
    Garbage,
    Hang,
    Reset,
    LoseAnswer,
    Truncate,
    RejectSpans(u64),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Option<String>,
}

impl Fault {
    /// Serves the request after `delay`.
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::of(Action::Serve)
        }
    }

    /// Responds with `status` and a `google.rpc.Status` in the request's format. A number outside
    /// of 200 to 599 becomes 500.
    pub fn status(status: u16) -> Self {
        Self::of(Action::Answer(Answer {
            status,
            ..Answer::default()
        }))
    }

    /// Rejects the key with 401. For 403 use [`status`](Self::status).
    pub fn reject_key() -> Self {
        Self::status(401)
    }

    /// Redirects to `url` with 307, so the client repeats the request there with its body.
    pub fn redirect(url: impl Into<String>) -> Self {
        Self::of(Action::Answer(Answer {
            status: 307,
            location: Some(url.into()),
            ..Answer::default()
        }))
    }

    /// Responds with 200 and a body that is neither protobuf nor JSON.
    pub fn garbage() -> Self {
        Self::of(Action::Garbage)
    }

    /// Reads the request and serves it only when the fault is cleared.
    pub fn hang() -> Self {
        Self::of(Action::Hang)
    }

    /// Reads the request and resets the connection without a response.
    pub fn reset() -> Self {
        Self::of(Action::Reset)
    }

    /// Serves the request and resets the connection instead of responding. If the client repeats
    /// the request, its data is stored twice. With [`after`](Self::after), only the reset is
    /// delayed.
    pub fn lose_answer() -> Self {
        Self::of(Action::LoseAnswer)
    }

    /// Serves the request and closes the connection in the middle of the response body. If the
    /// client repeats the request, its data is stored twice.
    pub fn truncate() -> Self {
        Self::of(Action::Truncate)
    }

    /// Rejects the first `rejected_spans` spans of a request by partial success and stores the
    /// others.
    pub fn partial_success(rejected_spans: u64) -> Self {
        Self::of(Action::RejectSpans(rejected_spans))
    }

    /// Adds a `Retry-After` header with this value. Ignored by faults without a response of their
    /// own.
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        if let Action::Answer(answer) = &mut self.action {
            answer.retry_after = Some(value.into());
        }
        self
    }

    /// Responds with this text instead of a `google.rpc.Status`. Ignored by faults without a
    /// response of their own.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Action::Answer(answer) = &mut self.action {
            answer.body = Some(text.into());
        }
        self
    }

    /// Delays the fault.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Restricts the fault to requests with this key.
    pub fn only(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Restricts the fault to this endpoint.
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Restricts the fault to requests with this text in their decompressed body. Protobuf contains
    /// texts unchanged, and JSON if it escapes none of their characters.
    pub fn when_body_contains(mut self, text: impl Into<String>) -> Self {
        self.body_contains = Some(text.into());
        self
    }

    /// Restricts the fault to the next `count` matching requests. After that, later faults apply.
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    fn of(action: Action) -> Self {
        Self {
            action,
            delay: Duration::ZERO,
            key: None,
            endpoint: None,
            body_contains: None,
            times: None,
        }
    }
}

// Not derived: the key must not be printed.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("action", &self.action)
            .field("delay", &self.delay)
            .field("only_one_key", &self.key.is_some())
            .field("endpoint", &self.endpoint)
            .field("body_contains", &self.body_contains)
            .field("times", &self.times)
            .finish()
    }
}
