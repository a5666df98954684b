//! Starting a span: its parent, its session, and the context in which it is current.

use std::sync::Arc;

#[cfg(feature = "tracing")]
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::handle::TracerHandle;
use super::sdk_tracers::SdkTracers;
use crate::context::{self, Identity, Root, ScopedContext};
use crate::session::state::SessionState;
use crate::span::{ActiveSpan, RegistrySpan};
use crate::util::wall_time::Moment;

/// A span that ends when this is dropped, however its code ends.
pub(crate) struct OpenSpan {
    pub(crate) span: ActiveSpan,
    /// Set if the span is the first in its scope.
    root: Option<Arc<Root>>,
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        // Explicitly: a clone of the context may outlive the closure in a spawned task.
        self.span.end();
        if let Some(root) = &self.root {
            root.end();
        }
    }
}

#[cfg(feature = "tower")]
impl OpenSpan {
    /// Makes the scope of code in this span end with the span.
    pub(crate) fn end_scope(&mut self) {
        let root = Arc::new(Root::of_request());
        self.span = self.span.in_context(context::with_root(self.span.context(), &root));
        self.root = Some(root);
    }
}

impl TracerHandle {
    pub(crate) fn open(&self, builder: SpanBuilder, from: &Context) -> OpenSpan {
        self.open_in(&self.0.sdk, builder, from, Moment::now())
    }

    /// Like [`open`](Self::open), for a span of the `tracing` crate.
    #[cfg(feature = "tracing")]
    pub(crate) fn open_for_tracing(&self, builder: SpanBuilder, from: &Context) -> OpenSpan {
        // Never waits for another thread, which a forked child does not have.
        let known = self.0.sdk_for_tracing.load();
        let sdk = if let Some(sdk) = &*known {
            Arc::clone(sdk)
        } else {
            let scope = InstrumentationScope::builder("tracing").build();
            let created = Arc::new(self.0.sdk_tracers(scope));
            self.0.sdk_for_tracing.store(Some(Arc::clone(&created)));
            created
        };
        self.open_in(&sdk, builder, from, Moment::now())
    }

    /// Like [`open`](Self::open), for work that began earlier.
    #[cfg(feature = "tower")]
    pub(crate) fn open_since(&self, builder: SpanBuilder, from: &Context, began: Moment) -> OpenSpan {
        let builder = builder.with_start_time(began.wall());
        self.open_in(&self.0.sdk, builder, from, began)
    }

    /// Starts a span and creates the context in which it is current.
    pub(super) fn open_in(&self, sdk: &SdkTracers, builder: SpanBuilder, from: &Context, began: Moment) -> OpenSpan {
        let from = context::usable(from);
        let mut entered = self.enter_from(None, &from);
        let mut session = None;
        let span = self.start(sdk, builder, entered.for_span(), began, &mut session);
        if let Some(session) = session {
            entered.set_session(session.scope());
        }
        let (cx, root) = entered.with_span(span);
        OpenSpan {
            span: ActiveSpan::new(cx, Arc::clone(self.lane())),
            root,
        }
    }

    /// Starts a span in a context.
    #[inline]
    pub(super) fn start_in(&self, sdk: &SdkTracers, builder: SpanBuilder, cx: &Context) -> RegistrySpan {
        self.start(
            sdk,
            builder,
            ScopedContext::from(&*context::usable(cx)),
            Moment::now(),
            &mut None,
        )
    }

    /// Starts a span in the current context.
    #[inline]
    pub(super) fn start_here(&self, sdk: &SdkTracers, builder: SpanBuilder) -> RegistrySpan {
        let cx = context::current();
        if context::is_ending(&cx) {
            self.identity().boundary().note_unattached();
        }
        self.start_in(sdk, builder, &cx)
    }

    /// The only call path into the SDK; counts started spans. If each trace is a session, sets
    /// `session` to the session that the span begins.
    #[inline]
    fn start(
        &self,
        sdk: &SdkTracers,
        mut builder: SpanBuilder,
        cx: ScopedContext<'_>,
        began: Moment,
        session: &mut Option<Arc<SessionState>>,
    ) -> RegistrySpan {
        let stripe = self.lane().stripe_of_thread();
        let sdk = sdk.of_stripe(stripe, &self.0.providers, || self.0.new_provider());
        if cx.context().is_telemetry_suppressed() {
            return RegistrySpan::new(sdk.build_with_context(builder, cx.context()), began);
        }
        builder.start_time.get_or_insert(began.wall());
        let span = RegistrySpan::new(self.start_with_parent(sdk, builder, cx, session), began);
        let span_context = span.span_context();
        if !span_context.is_sampled() {
            self.lane().note_unsampled(span_context.trace_id(), span.is_recording());
        }
        span
    }

    /// Chooses parent and session.
    #[inline]
    fn start_with_parent(
        &self,
        sdk: &SdkTracer,
        mut builder: SpanBuilder,
        cx: ScopedContext<'_>,
        session: &mut Option<Arc<SessionState>>,
    ) -> SdkSpan {
        let has_session = self.stamp_session(&mut builder, cx);
        let identity = &*self.0.identity;
        if cx.is_stale(identity) {
            identity.boundary().note_stale(self.selector(), &builder.name);
        }
        let parent = cx.parent(identity, self.0.trust_remote_parent);
        if !self.lane().destination.session_per_trace {
            return sdk.build_with_context(builder, &parent);
        }
        // If its trace began outside any session, a span's id is marked: the trace is a session.
        // Nothing else records that.
        let parent_span = parent.span().span_context().clone();
        let is_first = parent_span.is_remote() || !parent.has_active_span();
        let is_session = if is_first {
            !has_session
        } else {
            identity.marked(parent_span.span_id())
        };
        if !is_session {
            return sdk.build_with_context(builder, &parent);
        }
        // The first span of the trace in this process starts its session. The backend ignores a
        // repeated start by another process.
        let name = is_first.then(|| builder.name.clone().into_owned());
        let span = Identity::marking(|| sdk.build_with_context(builder, &parent));
        // A trace that is not sampled gets no session, because it would be empty.
        if let Some(name) = name.filter(|_| span.span_context().is_sampled()) {
            let trace = span.span_context().trace_id();
            *session = Some(SessionState::start_of_trace(self.lane(), trace, name));
        }
        span
    }

    /// Puts the session's attributes first: those of the scope, otherwise of the tracer's default.
    /// Returns whether there are any.
    pub(super) fn stamp_session(&self, builder: &mut SpanBuilder, cx: ScopedContext<'_>) -> bool {
        let stamped = cx.session(&self.0.identity).and_then(|session| session.stamp.carried());
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
    // Reserve space for the attributes that most spans get after their start.
    let mut attributes = Vec::with_capacity(first.len() + own.len() + 4);
    attributes.extend_from_slice(first);
    attributes.extend(own);
    builder.attributes = Some(attributes);
}
