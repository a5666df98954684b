//! What the collector does wrong on request.

use std::fmt;
use std::time::Duration;

use crate::model::Endpoint;

/// A misbehaviour, for [`LocalCollector::fault`](crate::LocalCollector::fault).
///
/// Holds for every request that carries a key until it is cleared, unless narrowed by
/// [`only`](Self::only), [`on`](Self::on), [`when_body_contains`](Self::when_body_contains) and
/// [`times`](Self::times). Only [`delay`](Self::delay), [`hang`](Self::hang),
/// [`lose_answer`](Self::lose_answer), [`truncate`](Self::truncate) and
/// [`partial_success`](Self::partial_success) let anything of the request be stored.
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
    /// Serves the request as ever, but `delay` later.
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::of(Action::Serve)
        }
    }

    /// Answers with `status` and a `google.rpc.Status` in the request's format. A number outside of 100 to 599, or one
    /// of the informational ones, is answered as 500.
    pub fn status(status: u16) -> Self {
        Self::of(Action::Answer(Answer {
            status,
            ..Answer::default()
        }))
    }

    /// Refuses the key with 401; for 403 use [`status`](Self::status).
    pub fn reject_key() -> Self {
        Self::status(401)
    }

    /// Redirects to `url` with 307, which asks the client to repeat the request there, body and all.
    pub fn redirect(url: impl Into<String>) -> Self {
        Self::of(Action::Answer(Answer {
            status: 307,
            location: Some(url.into()),
            ..Answer::default()
        }))
    }

    /// Answers 200 with a body that is neither protobuf nor JSON.
    pub fn garbage() -> Self {
        Self::of(Action::Garbage)
    }

    /// Takes the request and does not answer until the fault is cleared; then the request is served.
    pub fn hang() -> Self {
        Self::of(Action::Hang)
    }

    /// Takes the request and resets the connection without an answer.
    pub fn reset() -> Self {
        Self::of(Action::Reset)
    }

    /// Serves the request and resets the connection instead of the answer: what was stored comes
    /// again if the client repeats it. With [`after`](Self::after) it is stored at once, and the
    /// reset comes later.
    pub fn lose_answer() -> Self {
        Self::of(Action::LoseAnswer)
    }

    /// Serves the request, and closes the connection in the middle of the answer's body. What was
    /// stored comes again if the client repeats it.
    pub fn truncate() -> Self {
        Self::of(Action::Truncate)
    }

    /// Refuses the first `rejected_spans` spans of a request by partial success and stores the others.
    pub fn partial_success(rejected_spans: u64) -> Self {
        Self::of(Action::RejectSpans(rejected_spans))
    }

    /// Sends a `Retry-After` header along, as written here. Nothing happens for faults that are not an answer.
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        if let Action::Answer(answer) = &mut self.action {
            answer.retry_after = Some(value.into());
        }
        self
    }

    /// Answers with this text instead of a `google.rpc.Status`. Nothing happens for faults that are not an answer.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Action::Answer(answer) = &mut self.action {
            answer.body = Some(text.into());
        }
        self
    }

    /// Misbehaves only after `delay`.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Only for requests with this key.
    pub fn only(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only for this kind of call.
    pub fn on(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only for requests with this text in their body, unpacked. Texts stand in protobuf and in
    /// JSON as they are, where JSON escapes none of their characters.
    pub fn when_body_contains(mut self, text: impl Into<String>) -> Self {
        self.body_contains = Some(text.into());
        self
    }

    /// Only for the next `count` requests that it fits; then the next fault in the order added holds.
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

// By hand: the key must not be printed.
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
