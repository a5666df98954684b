//! Propagation between processes: W3C trace context and baggage of one tracer.
//!
//! Sends only the tracer's own data. Incoming headers never choose a tracer or a key; they set a
//! parent or a session if the binding allows it.

mod baggage;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;

pub(crate) use headers::PROPAGATED;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use self::baggage::Outgoing;
use crate::backend::{parse_session_id, trace_session_id};
use crate::context;
use crate::scope::Scope;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// Name of the baggage header.
const BAGGAGE: &str = "baggage";
/// Baggage entry with the session id, OpenTelemetry's name for it.
const SESSION_ID: &str = "session.id";

impl TracerHandle {
    /// Writes this tracer's data into the headers of a request: `traceparent` and `tracestate` of
    /// its innermost span, and the `baggage` set in its innermost scope. Data of other tracers, and
    /// baggage set outside any scope, is not written.
    ///
    /// With `propagation.session_id` in the binding, the session's id is the baggage entry
    /// `session.id`.
    ///
    /// The headers are valid for every input. A `baggage` header has at most 64 entries and 8,192
    /// bytes, with percent-encoded values and only whole entries. The session's id comes first,
    /// then the entries sorted by name, as far as they fit. Entries with a name or metadata that is
    /// invalid in the header, or with `%` in the name, are dropped.
    /// [`PropagationStatus::baggage_dropped`](crate::status::PropagationStatus::baggage_dropped)
    /// counts dropped entries.
    ///
    /// Pass only the headers of this request. OpenTelemetry's `Injector` can replace a header but
    /// not remove one. So if the tracer has no span or no baggage, an existing `traceparent` or
    /// `baggage` of another tracer or of an incoming request stays.
    /// [`inject_headers`](Self::inject_headers) removes them.
    pub fn inject(&self, injector: &mut dyn Injector) {
        self.inject_from(&context::current(), injector);
    }

    /// Like [`inject`](Self::inject), with `cx` instead of the current context.
    pub(crate) fn inject_from(&self, cx: &Context, injector: &mut dyn Injector) {
        let span = self.outgoing_span(cx);
        if let Some(baggage) = self.outgoing_baggage(cx, span.as_ref()) {
            injector.set(BAGGAGE, baggage);
        }
        if let Some(span) = span {
            let outgoing = Context::new().with_remote_span_context(sendable(span));
            TraceContextPropagator::new().inject_context(&outgoing, injector);
        }
    }

    fn outgoing_baggage(&self, cx: &Context, span: Option<&SpanContext>) -> Option<String> {
        let mut outgoing = Outgoing::default();
        if self.propagates_session_id() {
            let is_session = |span: &&SpanContext| self.identity().marked(span.span_id());
            let of_trace = span.filter(is_session).map(SpanContext::trace_id);
            let of_trace = of_trace.map(|trace| trace_session_id(trace).to_string());
            if let Some(id) = self.session_id(cx).or(of_trace) {
                outgoing.add(SESSION_ID, &id, "");
            }
        }
        let entries = context::baggage(self.identity(), cx).map(Baggage::iter);
        // Reserved for the session: an entry of that name that was set manually or received is not
        // sent.
        let entries = entries
            .into_iter()
            .flatten()
            .filter(|(key, _)| !(self.propagates_session_id() && key.as_str() == SESSION_ID));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (key, (value, metadata)) in entries {
            outgoing.add(key.as_str(), value.as_str(), metadata.as_str());
        }
        self.identity().boundary().note_baggage_dropped(outgoing.dropped());
        outgoing.into_header()
    }

    /// Reads the headers of an incoming request and returns the scope for answering it, which is
    /// always this tracer's scope.
    ///
    /// The remote span becomes the parent if the binding sets `propagation.trust_remote_parent`.
    /// The baggage entry `session.id` becomes the session if the binding sets
    /// `propagation.session_id` and the entry is a hyphenated UUID; otherwise the entry is dropped.
    /// The request's baggage replaces this tracer's baggage: names and values, without metadata, of
    /// the first 64 entries. Ignores a header above 8,192 bytes, entries whose name is not a token
    /// or contains `%`, and unreadable headers.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # async fn handle(acme: tracer_registry::TracerHandle, headers: HashMap<String, String>) {
    /// let answer = acme.extract(&headers).scope(acme.in_span_async("POST /ask", async |_| "42")).await;
    /// # }
    /// ```
    pub fn extract(&self, extractor: &dyn Extractor) -> Scope {
        self.extract_into(&context::current(), extractor).into()
    }

    /// Like [`extract`](Self::extract), with `current` instead of the current context.
    pub(crate) fn extract_into(&self, current: &Context, extractor: &dyn Extractor) -> Context {
        let incoming = TraceContextPropagator::new().extract_with_context(&Context::new(), extractor);
        let mut baggage = extractor.get(BAGGAGE).map(baggage::read).unwrap_or_default();
        let session = if self.propagates_session_id() {
            let id = baggage.get(SESSION_ID);
            id.and_then(|id| parse_session_id(id.as_str()))
        } else {
            // It must not choose a session in the next process either.
            baggage.remove(SESSION_ID);
            None
        };
        let mut cx = match session {
            Some(id) => Session::resume(self, id).context(current),
            None => self.scope_context(None, current),
        };
        if !(baggage.is_empty() && cx.baggage().is_empty()) {
            cx = context::with_baggage(&cx, baggage);
        }
        let remote = incoming.span().span_context().clone();
        if self.trusts_remote_parent() && remote.is_valid() && self.identity().accepts_remote(&remote) {
            cx = context::with_trusted_span(&cx, remote);
        }
        cx
    }
}

/// Returns a span context that is safe to send in a header. OpenTelemetry allows anything but `,`
/// and `=` in `tracestate` values, even line breaks. Drops a state with anything but printable
/// ASCII.
fn sendable(span: SpanContext) -> SpanContext {
    let is_printable = |text: &str| text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    if span.trace_state().into_iter().all(|(_, value)| is_printable(value)) {
        return span;
    }
    SpanContext::new(
        span.trace_id(),
        span.span_id(),
        span.trace_flags(),
        span.is_remote(),
        TraceState::NONE,
    )
}
