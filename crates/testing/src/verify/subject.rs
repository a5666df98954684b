//! System under test: this crate, or plain SDK providers.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use opentelemetry::trace::{Span, SpanContext, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use uuid::Uuid;

use super::program::cast::Setting;
use super::program::operation::{Disturbance, How, Misname, OpId};
use tracer_registry::ActiveSpan;

/// Tracing operations of programs. Implemented by [`Ours`](super::ours::subject::Ours) and
/// [`Peer`](super::peer::Peer).
pub(super) trait Subject: Send + Sync + 'static {
    /// Handle of a tracer.
    type Tracer: Clone + Send + Sync + 'static;
    /// A span that is not current.
    type Span: Span + Send + Sync + 'static;
    /// Handle of a session.
    type Session: Clone + Send + Sync + 'static;
    /// Captured context.
    type Captured: Clone + Send + Sync + 'static;
    /// Keeps a scope current on a thread.
    type Guard;

    /// Whether sessions have starts, data and enrichments, not only ids.
    const REPORTS_SESSIONS: bool;

    fn tracer(&self, member: usize) -> Found<Self::Tracer>;
    fn dedicated(&self, member: usize) -> Found<Self::Tracer>;
    /// Looks up a wrong name. Returns the outcome unless it is the right error.
    fn misname(&self, member: usize, how: Misname) -> Option<String>;

    /// Disturbs the registries. If a look-up after that is wrong, returns its member and the
    /// reason.
    fn disturb(&self, _disturbance: Disturbance) -> Option<(usize, String)> {
        None
    }

    /// Starts a span, rotates the key of its tracer, and ends the span. Waits until a request with
    /// the old key is refused and all data is delivered with the new one.
    fn refuse(&self, member: usize, start: impl FnOnce(&Self::Tracer) -> Self::Span) -> Found<Self::Tracer> {
        let found = self.tracer(member);
        start(&found.tracer).end();
        found
    }

    /// Runs the body in a span that is made as `how` says. If `how` takes the tracer from the
    /// scope, enters a scope of `tracer` first.
    fn span_sync(&self, how: How, tracer: &Self::Tracer, name: String, body: impl FnOnce(Active));
    fn span<F: Future<Output = ()> + Send + 'static>(
        &self,
        how: How,
        tracer: &Self::Tracer,
        name: String,
        body: impl FnOnce(Active) -> F + Send + 'static,
    ) -> BoxFuture<'static, ()>;
    /// Serves a request in its own span.
    fn request(&self, member: usize, request: Request, body: Work) -> BoxFuture<'static, ()>;
    /// Runs the body in a function that is traced by its scope, outside any scope.
    fn unscoped(&self, by_subscriber: bool, body: impl FnOnce());
    fn unscoped_async(&self, by_subscriber: bool, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    /// Emits an event of the `tracing` crate.
    fn event(&self, name: String);
    fn start(&self, tracer: &Self::Tracer, name: String) -> Self::Span;
    /// Enters a scope of `tracer` on a thread that cannot attach more contexts, and does the work
    /// there.
    fn overfull(&self, tracer: &Self::Tracer, work: impl FnOnce());

    fn enter(&self, tracer: &Self::Tracer) -> Self::Guard;
    fn scope(&self, tracer: &Self::Tracer, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;

    fn session(&self, tracer: &Self::Tracer, id: Option<Uuid>, name: String, canary: String) -> Self::Session;
    fn session_id(&self, session: &Self::Session) -> String;
    fn enter_session(&self, session: &Self::Session) -> Self::Guard;
    fn session_scope(&self, session: &Self::Session, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    /// Sets two entries of metadata: one with this key, and one that each enrichment overwrites.
    fn enrich(&self, session: &Self::Session, key: String, canary: String);
    fn end_session(&self, session: &Self::Session);

    fn capture(&self) -> Self::Captured;
    fn enter_captured(&self, captured: &Self::Captured) -> Self::Guard;
    fn captured_scope(&self, captured: &Self::Captured, body: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
    fn captured_stream(&self, captured: &Self::Captured, stream: BoxStream<'static, ()>) -> BoxStream<'static, ()>;

    /// Sets an attribute on the tracer's current span, if there is one.
    fn set_on_current(&self, tracer: &Self::Tracer, key: String, value: String);
    /// Returns the member of the current scope and its session. `None` if the subject has no
    /// scopes.
    fn current(&self) -> Option<(Option<usize>, Option<String>)>;
    /// Returns the headers of an outgoing request, made by a client layer if requested and
    /// supported.
    fn inject(&self, tracer: &Self::Tracer, by_layer: bool) -> HashMap<String, String>;
    fn extract(&self, tracer: &Self::Tracer, headers: &HashMap<String, String>) -> Self::Captured;

    /// Returns how many spans of a trace were delivered, by member, as the subject explains it.
    /// `None` if it does not explain traces.
    fn delivered(&self, _trace: TraceId) -> Option<Vec<u64>> {
        None
    }

    /// Sends all data and returns the ledgers, and an error if something was not delivered.
    fn flush(&self, timeout: Duration) -> Flushed;
}

/// Work of a request, run in its span.
pub(super) type Work = Box<dyn FnOnce(Active) -> BoxFuture<'static, ()> + Send>;

/// An incoming request.
pub(super) struct Request {
    pub(super) name: String,
    pub(super) headers: HashMap<String, String>,
    /// Whether the client reads the response to its end.
    pub(super) read: bool,
}

/// Result of a look-up.
pub(super) struct Found<T> {
    pub(super) tracer: T,
    /// Number of the tracer instance, if instances are replaced while programs run.
    pub(super) instance: Option<usize>,
    /// Reason why the result is wrong.
    pub(super) wrong: Option<String>,
}

impl<T> Found<T> {
    /// Returns the result for a name with a single instance.
    pub(super) fn only(tracer: T) -> Self {
        Self {
            tracer,
            instance: None,
            wrong: None,
        }
    }
}

/// A tracer instance of a name.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) member: usize,
    /// Settings that it may have, according to the times of its look-ups; usually one.
    pub(super) settings: Vec<Setting>,
}

/// State of the subject after a flush.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// Tracers that were replaced or replace others, by instance number.
    pub(super) instances: HashMap<usize, Instance>,
    /// Settings of each member since the last flush. Empty if they do not change.
    pub(super) settings: Vec<Vec<Setting>>,
    /// Targets that could not get all copies.
    pub(super) unable: BTreeSet<usize>,
    /// Ledger of each member since the last flush. Empty if the subject has no ledgers.
    pub(super) ledgers: Vec<Ledger>,
    /// Evictions and refusals since the start.
    pub(super) tally: Tally,
    /// Report of the subject if the flush was incomplete.
    pub(super) incomplete: Option<String>,
}

/// Effects of the disturbances on pools and receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Idle tracers that were evicted.
    pub(super) evicted: u64,
    /// Tracers that were created above the pool limit.
    pub(super) grown: u64,
    /// Requests that were refused because of an old key.
    pub(super) refused: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) dropped: u64,
    pub(super) events_delivered: u64,
    pub(super) events_dropped: u64,
}

impl Ledger {
    /// Returns the difference to an earlier ledger. The counts of a forgotten name start from zero.
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

/// Attribute of each span that some members redact.
pub(super) const PLANTED_KEY: &str = "planted";

/// Reference to an open span.
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

    pub(super) fn plant(&self, text: String) {
        let planted = KeyValue::new(PLANTED_KEY, text);
        match self {
            Self::Span(span) => span.set_attribute(planted.key, planted.value),
            Self::Context(cx) => cx.span().set_attribute(planted),
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

    /// Links to another span; with `remote`, as if it were of another process.
    pub(super) fn link(&self, to: &Self, remote: bool) {
        let to = to.span_context();
        let (trace, span, flags) = (to.trace_id(), to.span_id(), to.trace_flags());
        let to = SpanContext::new(trace, span, flags, remote, to.trace_state().clone());
        self.context().span().add_link(to, Vec::new());
    }

    /// Returns the trace id and the span id in hexadecimal.
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

/// Returns the id for a session that the program starts with a given id.
pub(super) fn given_id(seed: u64, op: OpId) -> Uuid {
    uuid::Builder::from_random_bytes((u128::from(seed) << 64 | 0x5e55_1011_0000_0000 | u128::from(op)).to_be_bytes())
        .into_uuid()
}
