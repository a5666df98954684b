//! Spans of code that knows nothing of tenants: each goes to the tracer of the scope that it is started in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span};

use crate::scope::Scope;
use crate::tracer::TracerHandle;

/// OpenTelemetry's `TracerProvider` for instrumentation that knows nothing of tenants: an instrumented client or driver, a layer for the
/// `tracing` crate, whatever asks for a provider once and keeps it.
///
/// Each span goes to the tracer of the scope in the context that it is started in, else of the current scope, as a child of that tracer's own
/// span. So a layer of `tracing-opentelemetry` must keep its context activation, which is on by default: else its contexts are those of its spans'
/// parents. Outside any scope it goes to the default, where one was given; else it is not recorded, and counted. It never goes to
/// a tracer that nobody named.
///
/// ```
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use tracer_registry::{RoutingProvider, TracerHandle};
///
/// # fn demo(acme: TracerHandle) {
/// let routing = RoutingProvider::new();
/// let driver = routing.tracer("database-driver");                          // once, at start-up
///
/// acme.in_span_sync("request", |_| drop(driver.start("query")));            // a child of `request`, in acme's project
///
/// drop(driver.start("housekeeping"));                                       // in no scope: not recorded
/// assert_eq!(routing.unrouted(), 1);
/// # }
/// ```
#[derive(Clone)]
pub struct RoutingProvider(Arc<Routing>);

struct Routing {
    default: Option<TracerHandle>,
    unrouted: AtomicU64,
    /// Records nothing.
    nowhere: SdkTracerProvider,
}

/// A tracer of a [`RoutingProvider`], for one instrumentation scope.
#[derive(Clone)]
pub struct RoutingTracer {
    provider: RoutingProvider,
    instrumentation: InstrumentationScope,
}

impl RoutingProvider {
    /// One that records nothing outside scopes.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// One that gives spans outside any scope to a tracer.
    pub fn with_default(tracer: TracerHandle) -> Self {
        Self::of(Some(tracer))
    }

    fn of(default: Option<TracerHandle>) -> Self {
        // Everything that variables of the process could set is set here.
        let nowhere = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_sampler(Sampler::AlwaysOff)
            .build();
        Self(Arc::new(Routing {
            default,
            unrouted: AtomicU64::new(0),
            nowhere,
        }))
    }

    /// How many spans were started outside any scope, and not recorded.
    pub fn unrouted(&self) -> u64 {
        // Relaxed: a count, nothing hangs on it.
        self.0.unrouted.load(Ordering::Relaxed)
    }

    fn route(&self, cx: &Context) -> Option<TracerHandle> {
        let given = Scope::from(cx.clone()).tracer();
        given
            .or_else(|| Scope::current().tracer())
            .or_else(|| self.0.default.clone())
    }
}

impl Default for RoutingProvider {
    fn default() -> Self {
        Self::new()
    }
}

impl TracerProvider for RoutingProvider {
    type Tracer = RoutingTracer;

    fn tracer_with_scope(&self, instrumentation: InstrumentationScope) -> RoutingTracer {
        RoutingTracer {
            provider: self.clone(),
            instrumentation,
        }
    }
}

impl Tracer for RoutingTracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> Span {
        let instrumentation = self.instrumentation.clone();
        if let Some(tracer) = self.provider.route(parent_cx) {
            return tracer
                .tracer_with_scope(instrumentation)
                .build_with_context(builder, parent_cx);
        }
        let routing = &self.provider.0;
        if !parent_cx.is_telemetry_suppressed() {
            routing.unrouted.fetch_add(1, Ordering::Relaxed);
        }
        let nowhere = routing.nowhere.tracer_with_scope(instrumentation);
        nowhere.build_with_context(builder, &Context::new())
    }

    // The trait's own versions would make the span current without its tracer's scope remembering it.
    fn in_span_with_builder<T, F>(&self, builder: SpanBuilder, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        self.in_span_with_builder_and_context(builder, Scope::current().context(), f)
    }

    fn in_span_with_builder_and_context<T, F>(&self, builder: SpanBuilder, parent_cx: &Context, f: F) -> T
    where
        F: FnOnce(Context) -> T,
    {
        if let Some(tracer) = self.provider.route(parent_cx) {
            let tracer = tracer.tracer_with_scope(self.instrumentation.clone());
            return tracer.in_span_with_builder_and_context(builder, parent_cx, f);
        }
        let cx = parent_cx.with_span(self.build_with_context(builder, parent_cx));
        let _current = cx.clone().attach();
        f(cx)
    }
}

impl fmt::Debug for RoutingProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingProvider")
            .field("default", &self.0.default)
            .field("unrouted", &self.unrouted())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RoutingTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingTracer({})", self.instrumentation.name())
    }
}
