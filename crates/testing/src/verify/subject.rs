//! What a program is run on: this crate, or plain providers.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use opentelemetry::trace::{Span, SpanContext, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use uuid::Uuid;

use super::program::cast::Setting;
use super::program::operation::{Disturbance, How, Misname, OpId};
use tracer_registry::ActiveSpan;

/// Everything that programs do with tracers. Implemented by [`Ours`](super::ours::subject::Ours)
/// and [`Peer`](super::peer::Peer).
pub(super) trait Subject: Send + Sync + 'static {
    /// A handle of a tracer.
    type Tracer: Clone + Send + Sync + 'static;
    /// A span that is not current.
    type Span: Span + Send + Sync + 'static;
    /// A handle of a session.
    type Session: Clone + Send + Sync + 'static;
    /// What was current at one place.
    type Captured: Clone + Send + Sync + 'static;
    /// What keeps a scope current on a thread.
    type Guard;

    /// Whether it has sessions beside their ids: starts, data, enrichments.
    const REPORTS_SESSIONS: bool;

    fn tracer(&self, member: usize) -> Found<Self::Tracer>;
    fn dedicated(&self, member: usize) -> Found<Self::Tracer>;
    /// Looks up a name that is not there; what came of it where it was not the right error.
    fn misname(&self, member: usize, how: Misname) -> Option<String>;

    /// Disturbs the registries. Returns the member with a wrong look-up after that, and what was wrong.
    fn disturb(&self, _disturbance: Disturbance) -> Option<(usize, String)> {
        None
    }

    /// Starts a span, rotates the key of its tracer, ends the span, and waits until a request was
    /// refused for the old key and everything was sent with the new one.
    fn refuse(&self, member: usize, start: impl FnOnce(&Self::Tracer) -> Self::Span) -> Found<Self::Tracer> {
        let found = self.tracer(member);
        start(&found.tracer).end();
        found
    }

    /// A span for the body, made in one of the ways that have a body; where that is a way by
    /// scopes, in one of `tracer`.
    fn span_sync(&self, how: How, tracer: &Self::Tracer, name: String, body: impl FnOnce(Active));
    fn span<F: Future<Output = ()> + Send + 'static>(
        &self,
        how: How,
        tracer: &Self::Tracer,
        name: String,
        body: impl FnOnce(Active) -> F + Send + 'static,
    ) -> BoxFuture<'static, ()>;
    /// Serves a request under a span of its own.
    fn request(&self, member: usize, request: Request, body: Work) -> BoxFuture<'static, ()>;
    /// Does the body where it would be in a span if it were in a scope.
    fn unscoped(&self, by_subscriber: bool, body: impl FnOnce());
    fn unscoped_async(&self, by_subscriber: bool, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    /// An event of code that knows no tracer.
    fn event(&self, name: String);
    fn start(&self, tracer: &Self::Tracer, name: String) -> Self::Span;
    /// Enters a scope of `tracer` where no context can be attached any more, and does the work there.
    fn overfull(&self, tracer: &Self::Tracer, work: impl FnOnce());

    fn enter(&self, tracer: &Self::Tracer) -> Self::Guard;
    fn scope(&self, tracer: &Self::Tracer, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;

    fn session(&self, tracer: &Self::Tracer, id: Option<Uuid>, name: String, canary: String) -> Self::Session;
    fn session_id(&self, session: &Self::Session) -> String;
    fn enter_session(&self, session: &Self::Session) -> Self::Guard;
    fn session_scope(&self, session: &Self::Session, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    /// Two entries of metadata: one of that key, and one that each enrichment sets again.
    fn enrich(&self, session: &Self::Session, key: String, canary: String);
    fn end_session(&self, session: &Self::Session);

    fn capture(&self) -> Self::Captured;
    fn enter_captured(&self, captured: &Self::Captured) -> Self::Guard;
    fn captured_scope(&self, captured: &Self::Captured, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    fn captured_stream(&self, captured: &Self::Captured, stream: BoxStream<'static, ()>) -> BoxStream<'static, ()>;

    /// Sets an attribute on the span that is current for the tracer, if there is one.
    fn set_on_current(&self, tracer: &Self::Tracer, key: String, value: String);
    /// The member with the current scope, and its session; `None` if the subject cannot answer.
    fn current(&self) -> Option<(Option<usize>, Option<String>)>;
    /// The headers of an outgoing request; those of a client under a layer where that goes.
    fn inject(&self, tracer: &Self::Tracer, by_layer: bool) -> HashMap<String, String>;
    fn extract(&self, tracer: &Self::Tracer, headers: &HashMap<String, String>) -> Self::Captured;

    /// Sends what there is; says what was not delivered, or does not add up.
    fn flush(&self, timeout: Duration) -> Flushed;
}

/// The work of a request, in its span.
pub(super) type Work = Box<dyn FnOnce(Active) -> BoxFuture<'static, ()> + Send>;

/// A request that comes in.
pub(super) struct Request {
    pub(super) name: String,
    pub(super) headers: HashMap<String, String>,
    /// Whether the response is read to its end.
    pub(super) read: bool,
}

/// What a look-up came to.
pub(super) struct Found<T> {
    pub(super) tracer: T,
    /// Which one it is of those that the name had, if they are replaced meanwhile.
    pub(super) instance: Option<usize>,
    /// Why it should not have come to this.
    pub(super) wrong: Option<String>,
}

impl<T> Found<T> {
    /// The only tracer that the name has.
    pub(super) fn only(tracer: T) -> Self {
        Self {
            tracer,
            instance: None,
            wrong: None,
        }
    }
}

/// One of the tracers that a name had.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) member: usize,
    /// Those of its name's settings that it may have, by when it was found; mostly one.
    pub(super) settings: Vec<Setting>,
}

/// What the subject's own books say after a flush.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// Tracers that were replaced or came in place of others, by number.
    pub(super) instances: HashMap<usize, Instance>,
    /// By member: spans that were accepted, delivered and dropped since the last flush, and the
    /// same of session events. Empty where the subject keeps no books.
    pub(super) books: Vec<Books>,
    /// What the pools and the receiver did since the beginning.
    pub(super) tally: Tally,
    /// What went wrong, as the subject says it.
    pub(super) incomplete: Option<String>,
}

/// What pools did, and the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Tracers that were idle, and ended.
    pub(super) evicted: u64,
    /// Tracers that were made above the bound.
    pub(super) grown: u64,
    /// Requests that were refused for a key that was rotated away.
    pub(super) refused: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) events_delivered: u64,
    pub(super) events_dropped: u64,
}

impl Books {
    /// What came to them since. A name that was forgotten begins anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            accepted: self.accepted.saturating_sub(before.accepted),
            delivered: self.delivered.saturating_sub(before.delivered),
            dropped: self.dropped.saturating_sub(before.dropped),
            events_delivered: self.events_delivered.saturating_sub(before.events_delivered),
            events_dropped: self.events_dropped.saturating_sub(before.events_dropped),
        }
    }
}

/// An open span, by reference.
#[derive(Clone)]
pub(super) enum Active {
    Span(ActiveSpan),
    Context(Context),
}

impl Active {
    pub(super) fn set(&self, key: String, value: String) {
        match self {
            Self::Span(span) => {
                span.metadata("work", value.as_str());
                span.set_attribute(key, value);
            }
            Self::Context(cx) => cx.span().set_attribute(KeyValue::new(key, value)),
        }
    }

    pub(super) fn event(&self, name: String) {
        match self {
            Self::Span(span) => span.add_event(name, Vec::new()),
            Self::Context(cx) => cx.span().add_event(name, Vec::new()),
        }
    }

    pub(super) fn end(&self) {
        if let Self::Context(cx) = self {
            cx.span().end();
        }
    }

    /// Links to another span, or to the same as if it were of another process.
    pub(super) fn link(&self, to: &Self, remote: bool) {
        let to = to.span_context();
        let (trace, span, flags) = (to.trace_id(), to.span_id(), to.trace_flags());
        let to = SpanContext::new(trace, span, flags, remote, to.trace_state().clone());
        self.context().span().add_link(to, Vec::new());
    }

    /// Trace id and span id, as headers have them.
    pub(super) fn ids(&self) -> (String, String) {
        let span = self.span_context();
        (span.trace_id().to_string(), span.span_id().to_string())
    }

    fn span_context(&self) -> SpanContext {
        self.context().span().span_context().clone()
    }

    fn context(&self) -> &Context {
        match self {
            Self::Span(span) => span.context(),
            Self::Context(cx) => cx,
        }
    }
}

/// The id of a session that is started with an id of the program's own.
pub(super) fn given_id(seed: u64, op: OpId) -> Uuid {
    uuid::Builder::from_random_bytes((u128::from(seed) << 64 | 0x5e55_1011_0000_0000 | u128::from(op)).to_be_bytes())
        .into_uuid()
}
