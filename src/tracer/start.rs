//! How a span of a tracer is started: its parent, its session, the context in which it is current.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::handle::TracerHandle;
use crate::context::{self, Identity, Root};
use crate::session::state::SessionState;
use crate::span::{ActiveSpan, RegistrySpan};
use crate::util::wall_time::Moment;

/// Ends its span when it is dropped, however the code that the span was opened for ends.
pub(crate) struct Open {
    pub(crate) span: ActiveSpan,
    /// What it is the first span of.
    root: Option<Arc<Root>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Explicitly: a clone of the context may outlive the closure, in a task that it spawned.
        self.span.end();
        if let Some(root) = &self.root {
            root.end();
        }
    }
}

#[cfg(feature = "tower")]
impl Open {
    /// The scope of what goes by the current scope ends with this span.
    pub(crate) fn end_scope(&mut self) {
        let root = Arc::new(Root::of_request());
        self.span = self.span.in_context(context::with_root(self.span.context(), &root));
        self.root = Some(root);
    }
}

impl TracerHandle {
    pub(crate) fn open(&self, builder: SpanBuilder, from: &Context) -> Open {
        self.open_in(&self.0.sdk, builder, from, Moment::now())
    }

    /// As [`open`](Self::open), for work that began a while ago.
    #[cfg(feature = "tower")]
    pub(crate) fn open_since(&self, builder: SpanBuilder, from: &Context, began: Moment) -> Open {
        let builder = builder.with_start_time(began.wall());
        self.open_in(&self.0.sdk, builder, from, began)
    }

    /// Starts a span and makes the context in which it is current.
    pub(super) fn open_in(&self, sdk: &SdkTracer, builder: SpanBuilder, from: &Context, began: Moment) -> Open {
        let mut entered = self.scope_context(None, &context::known(from));
        let mut session = None;
        let span = self.start(sdk, builder, &entered, began, &mut session);
        if let Some(session) = session {
            entered = context::with_session(&entered, session.scope());
        }
        let (cx, root) = context::with_own_span(&entered, span);
        Open {
            span: ActiveSpan::new(cx, Arc::clone(self.lane())),
            root,
        }
    }

    /// Starts a span.
    pub(super) fn start_in(&self, sdk: &SdkTracer, builder: SpanBuilder, cx: &Context) -> RegistrySpan {
        self.start(sdk, builder, &context::known(cx), Moment::now(), &mut None)
    }

    /// Starts a span in the current context.
    pub(super) fn start_here(&self, sdk: &SdkTracer, builder: SpanBuilder) -> RegistrySpan {
        let cx = context::current();
        if context::is_ending(&cx) {
            self.identity().boundary().note_unattached();
        }
        self.start_in(sdk, builder, &cx)
    }

    /// The one way to the SDK; it counts. If each trace is a session, `session` is set to the one that the span begins.
    fn start(
        &self,
        sdk: &SdkTracer,
        mut builder: SpanBuilder,
        cx: &Context,
        began: Moment,
        session: &mut Option<Arc<SessionState>>,
    ) -> RegistrySpan {
        if cx.is_telemetry_suppressed() {
            return RegistrySpan::new(sdk.build_with_context(builder, cx), began);
        }
        builder.start_time.get_or_insert(began.wall());
        let span = RegistrySpan::new(self.start_as(sdk, builder, cx, session), began);
        #[cfg(feature = "metrics")]
        self.lane().count_start(span.is_recording());
        span
    }

    /// Parent and session are chosen here.
    fn start_as(
        &self,
        sdk: &SdkTracer,
        mut builder: SpanBuilder,
        cx: &Context,
        begun: &mut Option<Arc<SessionState>>,
    ) -> SdkSpan {
        let has_session = self.stamp_session(&mut builder, cx);
        context::note_if_stale(&self.0.identity, cx, self.selector(), &builder.name);
        let parent = context::parent(&self.0.identity, cx, self.0.trust_remote_parent);
        if !self.lane().destination.session_per_trace {
            return sdk.build_with_context(builder, &parent);
        }
        // Each span's id says whether its trace began outside a session, and so is one: nothing else keeps that.
        let over = parent.span().span_context().clone();
        let is_first = over.is_remote() || !parent.has_active_span();
        let is_session = if is_first {
            !has_session
        } else {
            self.0.identity.marked(over.span_id())
        };
        if !is_session {
            return sdk.build_with_context(builder, &parent);
        }
        // This process's first span of the trace starts its session. Starting one again that another process started changes nothing.
        let name = is_first.then(|| builder.name.clone().into_owned());
        let span = Identity::marking(|| sdk.build_with_context(builder, &parent));
        // If sampling left the trace out, a session would have nothing in it.
        if let Some(name) = name.filter(|_| span.is_recording()) {
            let trace = span.span_context().trace_id();
            *begun = Some(SessionState::start_of_trace(self.lane(), trace, name));
        }
        span
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
}

fn prepend(builder: &mut SpanBuilder, first: &[KeyValue]) {
    let own = builder.attributes.take().unwrap_or_default();
    // Some more are set on most spans after their start.
    let mut attributes = Vec::with_capacity(first.len() + own.len() + 4);
    attributes.extend_from_slice(first);
    attributes.extend(own);
    builder.attributes = Some(attributes);
}
