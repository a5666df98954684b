//! What goes along with requests between processes: W3C trace context and baggage, of one tracer.
//!
//! Only a tracer's own go out. What comes in chooses neither tracer nor key; it is a parent, or a session, where the binding says so.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, Key};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

use crate::backend::{session_id_of_text, trace_session_id};
use crate::context;
use crate::scope::Scope;
use crate::session::Session;
use crate::tracer::TracerHandle;

/// The baggage entry with a session's id: OpenTelemetry's name for it.
const SESSION_ID: &str = "session.id";

impl TracerHandle {
    /// Writes what belongs to this tracer into the headers of a request: `traceparent` and `tracestate` of its innermost span, and `baggage`
    /// that was set in its innermost scope. Whatever other tracers have current, and baggage that was set outside of any scope, stays here.
    ///
    /// Where the binding says `propagation.session_id`, the session's id is the baggage entry `session.id`.
    ///
    /// The headers are to be those of this request alone. OpenTelemetry's `Injector` can replace a header and not remove one, so where the tracer
    /// has no span or no baggage, a `traceparent` or `baggage` that is there already stays: one that another tracer wrote, or that came in.
    pub fn inject(&self, injector: &mut dyn Injector) {
        self.inject_from(&context::current(), injector);
    }

    /// As [`inject`](Self::inject), with a context in place of the current one.
    pub(crate) fn inject_from(&self, cx: &Context, injector: &mut dyn Injector) {
        let span = self.outgoing_span(cx);
        let mut baggage = context::baggage(self.identity(), cx)
            .map(context::copied)
            .unwrap_or_default();
        if self.propagates_session_id() {
            // The name is the session's: an entry that was set by hand, or came in, does not pass for one.
            baggage.remove(SESSION_ID);
            let is_session = |span: &&SpanContext| self.identity().marked(span.span_id());
            let of_trace = span.as_ref().filter(is_session).map(SpanContext::trace_id);
            let of_trace = of_trace.map(|trace| trace_session_id(trace).to_string());
            if let Some(id) = self.session_id(cx).or(of_trace) {
                baggage.insert(Key::from_static_str(SESSION_ID), id);
            }
        }
        let mut outgoing = Context::new();
        if let Some(span) = span {
            outgoing = outgoing.with_remote_span_context(span);
        }
        TraceContextPropagator::new().inject_context(&outgoing, injector);
        BaggagePropagator::new().inject_context(&outgoing.with_baggage(baggage), injector);
    }

    /// Reads the headers of a request that came in, and gives the scope in which to answer it: this tracer's, whatever the headers say.
    ///
    /// The remote span is the parent where the binding says `propagation.trust_remote_parent`, and the baggage entry `session.id` is the
    /// session where it says `propagation.session_id` and the entry is a UUID with hyphens; where it does not say so, the entry is left out. The
    /// request's baggage is this tracer's baggage from there on, in place of what was. Headers that cannot be read are as if they were not there.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # async fn handle(acme: tracer_registry::TracerHandle, headers: HashMap<String, String>) {
    /// let answer = acme.extract(&headers).scope(acme.in_span("POST /ask", async |_| "42")).await;
    /// # }
    /// ```
    pub fn extract(&self, extractor: &dyn Extractor) -> Scope {
        self.extract_into(&context::current(), extractor).into()
    }

    /// As [`extract`](Self::extract), with a context in place of the current one.
    pub(crate) fn extract_into(&self, current: &Context, extractor: &dyn Extractor) -> Context {
        let incoming = BaggagePropagator::new().extract_with_context(&Context::new(), extractor);
        let incoming = TraceContextPropagator::new().extract_with_context(&incoming, extractor);
        let session = self
            .propagates_session_id()
            .then(|| incoming.baggage().get(SESSION_ID))
            .flatten();
        let session = session.and_then(|id| session_id_of_text(id.as_str()));
        let mut cx = match session {
            Some(id) => Session::resume(self, id).context(current),
            None => self.scope_context(None, current),
        };
        let mut baggage = context::copied(incoming.baggage());
        if !self.propagates_session_id() {
            // Nor does it choose one in the next process.
            baggage.remove(SESSION_ID);
        }
        if !(baggage.is_empty() && cx.baggage().is_empty()) {
            cx = cx.with_baggage(baggage);
        }
        if self.trusts_remote_parent() && incoming.has_active_span() {
            cx = context::with_trusted_span(&cx, incoming.span().span_context().clone());
        }
        cx
    }
}
