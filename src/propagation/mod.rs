//! Propagation between processes: W3C trace context and baggage of one tracer.
//!
//! Only a tracer's own data go out. Incoming headers choose neither tracer nor key; they set a parent, or a session, if the binding says so.

mod baggage;
mod headers;

pub(crate) use headers::PROPAGATED;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use self::baggage::Outgoing;
use crate::backend::{session_id_of_text, trace_session_id};
use crate::context;
use crate::scope::Scope;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// The header of baggage.
const BAGGAGE: &str = "baggage";
/// The baggage entry with a session's id: OpenTelemetry's name for it.
const SESSION_ID: &str = "session.id";

impl TracerHandle {
    /// Writes what belongs to this tracer into the headers of a request: `traceparent` and `tracestate` of its innermost span, and `baggage`
    /// that was set in its innermost scope. Data of other tracers, and baggage that was set outside any scope, are not written.
    ///
    /// If the binding says `propagation.session_id`, the session's id is the baggage entry `session.id`.
    ///
    /// The headers are valid for every input: a `baggage` header has at most 64 entries and 8,192 bytes, values are percent-encoded, and
    /// an entry goes out as a whole or not at all. The session's id goes first, then the entries in the order of their names, each if it still
    /// fits. One whose name or metadata is not valid in the header, or has a `%` in its name, is left out. Left out entries are counted in
    /// [`PropagationStatus::baggage_dropped`](crate::status::PropagationStatus::baggage_dropped).
    ///
    /// Pass the headers of this request alone. OpenTelemetry's `Injector` can replace a header and not remove one. So if the tracer has no span or no
    /// baggage, a `traceparent` or `baggage` that is already present stays: one that another tracer wrote, or that came in.
    /// [`inject_headers`](Self::inject_headers) removes them.
    pub fn inject(&self, injector: &mut dyn Injector) {
        self.inject_from(&context::current(), injector);
    }

    /// As [`inject`](Self::inject), with a context in place of the current one.
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
        // Reserved for the session: an entry of that name that was set by hand, or came in, is not sent.
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

    /// Reads the headers of a request that came in, and returns the scope in which to answer it: this tracer's, whatever the headers contain.
    ///
    /// The remote span is the parent if the binding says `propagation.trust_remote_parent`. The baggage entry `session.id` is the session if it
    /// says `propagation.session_id` and the entry is a UUID with hyphens; otherwise the entry is left out. The request's baggage replaces this
    /// tracer's baggage: names and values, without metadata, of the first 64 entries; none of a header beyond 8,192 bytes, and no entry whose
    /// name is not a token or has a `%` in it. Headers that cannot be read are ignored.
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

    /// As [`extract`](Self::extract), with a context in place of the current one.
    pub(crate) fn extract_into(&self, current: &Context, extractor: &dyn Extractor) -> Context {
        let incoming = TraceContextPropagator::new().extract_with_context(&Context::new(), extractor);
        let mut baggage = extractor.get(BAGGAGE).map(baggage::read).unwrap_or_default();
        let session = if self.propagates_session_id() {
            let id = baggage.get(SESSION_ID);
            id.and_then(|id| session_id_of_text(id.as_str()))
        } else {
            // Nor may it choose a session in the next process.
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
        if self.trusts_remote_parent() && remote.is_valid() && self.identity().takes_remote(&remote) {
            cx = context::with_trusted_span(&cx, remote);
        }
        cx
    }
}

/// A span's ids and state as they may go into a header. OpenTelemetry allows everything but `,` and `=` in the values of a `tracestate`, also line
/// breaks. A state with anything but printable ASCII is not sent.
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
