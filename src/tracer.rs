//! One isolated tracer, and the handle that callers hold.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{FutureExt as _, SpanBuilder, Tracer, TracerProvider};
use opentelemetry::{Context, ContextGuard, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};

use crate::backend::Destination;
use crate::config::ResolvedBinding;
use crate::context::{self, Identity, Parent, SessionStamp, SpanIds};
use crate::export::{Lane, LaneProcessor};
use crate::secret::Fingerprint;
use crate::selector::Selector;
use crate::span::ActiveSpan;

/// The instrumentation scope of spans made by the handle itself. Static, so that a span costs no string.
const SCOPE: &str = "tracer-registry";

/// A handle of one isolated tracer: its own provider, queue, ledger and key.
///
/// Cheap to clone (an `Arc`), `Send`, `Sync` and `'static`. A span started by a handle belongs to its tracer for good, is the child of
/// the innermost span of the same tracer, and carries the session of the innermost scope of the same tracer; what other tracers
/// have current does not matter.
///
/// It is a [`TracerProvider`] for whatever takes one.
#[derive(Clone)]
pub struct TracerHandle(Arc<Instance>);

struct Instance {
    selector: Selector,
    fingerprint: Fingerprint,
    identity: Arc<Identity>,
    trust_remote_parent: bool,
    provider: SdkTracerProvider,
    /// The SDK's tracer for spans made by the handle itself.
    sdk: SdkTracer,
    lane: Arc<Lane>,
}

/// OpenTelemetry's `Tracer` of one [`TracerHandle`], for one instrumentation scope.
#[derive(Clone)]
pub struct IsolatedTracer {
    handle: TracerHandle,
    sdk: SdkTracer,
}

impl TracerHandle {
    pub(crate) fn new(binding: &ResolvedBinding, fingerprint: Fingerprint, lane: Arc<Lane>) -> Self {
        let identity = Identity::new();
        // Everything that variables of the process could set is set here.
        let provider = SdkTracerProvider::builder()
            .with_resource(lane.destination.resource.clone())
            .with_sampler(sampler(binding.sampling_ratio))
            .with_span_limits(Destination::sdk_limits(binding))
            .with_id_generator(SpanIds(Arc::clone(&identity)))
            .with_span_processor(LaneProcessor(Arc::clone(&lane)))
            .build();
        Self(Arc::new(Instance {
            selector: binding.selector.clone(),
            fingerprint,
            identity,
            trust_remote_parent: binding.trust_remote_parent,
            sdk: provider.tracer(SCOPE),
            provider,
            lane,
        }))
    }

    /// What it was looked up by.
    pub fn selector(&self) -> &Selector {
        &self.0.selector
    }

    /// What may be shown of its key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Runs an async closure in a new span, which is current while the closure's future runs, on whatever thread.
    ///
    /// ```
    /// # async fn demo(acme: tracer_registry::TracerHandle) {
    /// let answer = acme.in_span("answer", async |span| {
    ///     span.set_attribute("question", "why?");
    ///     42
    /// }).await;
    /// # }
    /// ```
    ///
    /// The span starts when the future is first polled, with the parent and the session of that moment, so that
    /// `session.scope(acme.in_span(..))` is in the session. A future that is spawned as it is, and so is first polled where nothing is current,
    /// has those of the place where `in_span` was called.
    ///
    /// # Cancel safety
    /// A future that is dropped ends the span at that moment.
    pub fn in_span<N, F, Fut>(&self, name: N, f: F) -> impl Future<Output = Fut::Output> + use<N, F, Fut>
    where
        N: Into<Cow<'static, str>>,
        F: FnOnce(ActiveSpan) -> Fut,
        Fut: Future,
    {
        let (handle, builder, called_in) = (self.clone(), SpanBuilder::from_name(name), context::current());
        async move {
            let open = handle.open(builder, &context::current_or(called_in));
            let cx = open.span.context().clone();
            let future = {
                // The closure itself runs before its future is first polled: spans it makes are children too.
                let _entered = context::attach(cx.clone());
                f(open.span.clone())
            };
            future.with_context(cx).await
        }
    }

    /// Runs a closure in a new span, which is current on this thread meanwhile.
    pub fn in_span_sync<T>(&self, name: impl Into<Cow<'static, str>>, f: impl FnOnce(ActiveSpan) -> T) -> T {
        let open = self.open(SpanBuilder::from_name(name), &context::current());
        let _entered = context::attach(open.span.context().clone());
        f(open.span.clone())
    }

    /// Starts a span under the current one of this tracer and gives it to the caller, who ends it (or drops it). It is not made current.
    pub fn start_span(&self, name: impl Into<Cow<'static, str>>) -> Span {
        self.start_in(&self.0.sdk, SpanBuilder::from_name(name), &context::current())
    }

    /// Runs a future for this tracer: spans made in it by whatever means that go by the current context belong to the tracer. Moves with the
    /// future from thread to thread, and ends with it.
    ///
    /// # Cancel safety
    /// As that of the future.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.with_context(self.scope_context(None, &context::current()))
    }

    /// Makes this thread run for this tracer until the guard is dropped.
    ///
    /// The guard stays on its thread:
    ///
    /// ```compile_fail,E0277
    /// # fn demo(acme: tracer_registry::TracerHandle) {
    /// let entered = acme.enter();
    /// std::thread::spawn(move || drop(entered));
    /// # }
    /// ```
    #[must_use = "the scope ends when the guard is dropped"]
    pub fn enter(&self) -> ContextGuard {
        context::attach(self.scope_context(None, &context::current()))
    }

    pub(crate) fn scope_context(&self, session: Option<SessionStamp>, from: &Context) -> Context {
        context::enter(&self.0.identity, session, from)
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.0.lane
    }

    /// Whether two handles are of the same tracer.
    pub fn same_tracer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn open(&self, builder: SpanBuilder, from: &Context) -> Open {
        self.open_in(&self.0.sdk, builder, from)
    }

    /// Starts a span and makes the context in which it is current.
    fn open_in(&self, sdk: &SdkTracer, builder: SpanBuilder, from: &Context) -> Open {
        let entered = context::enter(&self.0.identity, None, from);
        let span = self.start_in(sdk, builder, &entered);
        Open {
            span: ActiveSpan::new(context::with_own_span(&entered, span), Arc::clone(&self.0.lane)),
        }
    }

    /// The one way to the SDK: parent and session are chosen here.
    fn start_in(&self, sdk: &SdkTracer, mut builder: SpanBuilder, cx: &Context) -> Span {
        if cx.is_telemetry_suppressed() {
            return sdk.build_with_context(builder, cx);
        }
        let identity = &self.0.identity;
        if let Some(session) = context::session(identity, cx) {
            let own = builder.attributes.take().unwrap_or_default();
            let mut attributes = Vec::with_capacity(session.len() + own.len() + 4);
            attributes.extend(session.iter().cloned());
            attributes.extend(own);
            builder.attributes = Some(attributes);
        }
        match context::parent(identity, cx, self.0.trust_remote_parent) {
            Parent::Active => sdk.build_with_context(builder, cx),
            Parent::Hidden(hidden) => sdk.build_with_context(builder, &hidden),
            Parent::None => sdk.build_with_context(builder, &Context::new()),
        }
    }
}

/// Ends its span when it goes, however the code that it was opened for came to its end.
struct Open {
    span: ActiveSpan,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Explicitly: a clone of the context may outlive the closure, in a task that it spawned.
        self.span.end();
    }
}

fn sampler(ratio: f64) -> Sampler {
    let root = if ratio >= 1.0 {
        Sampler::AlwaysOn
    } else {
        Sampler::TraceIdRatioBased(ratio)
    };
    Sampler::ParentBased(Box::new(root))
}

impl TracerProvider for TracerHandle {
    type Tracer = IsolatedTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> IsolatedTracer {
        IsolatedTracer {
            sdk: self.0.provider.tracer_with_scope(scope),
            handle: self.clone(),
        }
    }
}

impl Tracer for IsolatedTracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> Span {
        self.handle.start_in(&self.sdk, builder, parent_cx)
    }

    // The trait's own versions would leave another tracer's scope in place around the new span.
    fn in_span_with_builder<T, F>(&self, builder: SpanBuilder, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        self.in_span_with_builder_and_context(builder, &context::current(), f)
    }

    fn in_span_with_builder_and_context<T, F>(&self, builder: SpanBuilder, parent_cx: &Context, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        let open = self.handle.open_in(&self.sdk, builder, parent_cx);
        let cx = open.span.context().clone();
        let _entered = context::attach(cx.clone());
        f(cx)
    }
}

impl IsolatedTracer {
    /// The handle that this tracer is of.
    pub fn handle(&self) -> &TracerHandle {
        &self.handle
    }
}

impl fmt::Debug for TracerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TracerHandle({})", self.0.selector)
    }
}

impl fmt::Debug for IsolatedTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IsolatedTracer({})", self.handle.0.selector)
    }
}

/// An attribute that every span of a session carries.
pub(crate) fn stamp(key: &'static str, value: Arc<str>) -> KeyValue {
    KeyValue::new(key, opentelemetry::Value::String(value.into()))
}
