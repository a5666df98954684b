//! How a span of a tracer is started: its parent, its session, the context in which it is current.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::TracerHandle;
use crate::context::{self, Parent};
use crate::session_record::SessionRecord;
use crate::span::ActiveSpan;

/// Ends its span when it goes, however the code that it was opened for came to its end.
pub(super) struct Open {
    pub(super) span: ActiveSpan,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Explicitly: a clone of the context may outlive the closure, in a task that it spawned.
        self.span.end();
    }
}

impl TracerHandle {
    pub(super) fn open(&self, builder: SpanBuilder, from: &Context) -> Open {
        self.open_in(&self.0.sdk, builder, from)
    }

    /// Starts a span and makes the context in which it is current.
    pub(super) fn open_in(&self, sdk: &SdkTracer, builder: SpanBuilder, from: &Context) -> Open {
        let entered = self.scope_context(None, from);
        let (span, session) = self.start_in(sdk, builder, &entered);
        let entered = match session {
            Some(session) => context::with_session(&entered, session.scope()),
            None => entered,
        };
        Open {
            span: ActiveSpan::new(context::with_own_span(&entered, span), Arc::clone(self.lane())),
        }
    }

    /// The one way to the SDK: parent and session are chosen here. Also gives the session that the span is the first of.
    pub(super) fn start_in(
        &self,
        sdk: &SdkTracer,
        mut builder: SpanBuilder,
        cx: &Context,
    ) -> (Span, Option<Arc<SessionRecord>>) {
        if cx.is_telemetry_suppressed() {
            return (sdk.build_with_context(builder, cx), None);
        }
        let has_session = self.stamp_session(&mut builder, cx);
        let parent = context::parent(&self.0.identity, cx, self.0.trust_remote_parent);
        if self.lane().destination.session_per_trace && !has_session {
            return self.start_in_session_of_trace(sdk, builder, cx, &parent);
        }
        (build(sdk, builder, cx, &parent), None)
    }

    /// Puts the session's attributes first: that of the scope, else the tracer's default.
    pub(super) fn stamp_session(&self, builder: &mut SpanBuilder, cx: &Context) -> bool {
        let stamped = context::session(&self.0.identity, cx).and_then(|session| session.stamp.carried());
        if let Some(attributes) = stamped {
            prepend(builder, attributes);
            return true;
        }
        let default = self.0.default_session.get();
        let attributes = default.as_ref().and_then(|stamp| stamp.carried());
        if let Some(attributes) = attributes {
            prepend(builder, attributes);
        }
        attributes.is_some()
    }

    /// Starts a span that has its session from its trace, and the session itself with the first span that this process has of the trace.
    /// A session that was started elsewhere is the same one: starting it again changes nothing.
    fn start_in_session_of_trace(
        &self,
        sdk: &SdkTracer,
        builder: SpanBuilder,
        cx: &Context,
        parent: &Parent,
    ) -> (Span, Option<Arc<SessionRecord>>) {
        let is_first = match parent {
            Parent::Active => cx.span().span_context().is_remote(),
            Parent::Hidden(hidden) => hidden.span().span_context().is_remote(),
            Parent::None => true,
        };
        let name = is_first.then(|| builder.name.clone().into_owned());
        let span = build(sdk, builder, cx, parent);
        let trace = span.span_context().trace_id();
        // Where sampling left the trace out there is nothing to show in a session.
        let name = name.filter(|_| span.is_recording());
        let session = name.map(|name| SessionRecord::start_of_trace(self.lane(), trace, name));
        (span, session)
    }
}

fn build(sdk: &SdkTracer, builder: SpanBuilder, cx: &Context, parent: &Parent) -> Span {
    match parent {
        Parent::Active => sdk.build_with_context(builder, cx),
        Parent::Hidden(hidden) => sdk.build_with_context(builder, hidden),
        Parent::None => sdk.build_with_context(builder, &Context::new()),
    }
}

fn prepend(builder: &mut SpanBuilder, first: &[KeyValue]) {
    let own = builder.attributes.take().unwrap_or_default();
    // Some more are set on most spans after their start.
    let mut attributes = Vec::with_capacity(first.len() + own.len() + 4);
    attributes.extend_from_slice(first);
    attributes.extend(own);
    builder.attributes = Some(attributes);
}
