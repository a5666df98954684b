//! A tracer provider for code without tenants: each span goes to the tracer of its scope.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanBuilder, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::context;
use crate::registry::{TracerRegistry, Unrouted, WeakRegistry};
use crate::scope::Scope;
use crate::span::RegistrySpan;
use crate::tracer::TracerHandle;
use crate::util::wall_time::Moment;

/// OpenTelemetry `TracerProvider` for instrumentation without tenants, such as an instrumented
/// client or driver that keeps one provider. Created by [`TracerRegistry::routing_provider`].
///
/// Each span goes to the tracer of the scope in its parent context, else of the current scope, as a
/// child of that tracer's own span. Outside any scope it goes to `routing.default` of the
/// configuration. Without a default, or if its tracer cannot be resolved, the span is not
/// recorded and is counted in [`Status::unrouted`](crate::status::Status::unrouted). It never goes
/// to a tracer that neither a scope nor the configuration names. The default does not apply to
/// requests served untraced, or to functions with `#[trace]` and an unresolved tracer.
///
/// Each span outside a scope looks the default up, so a reload, a new key or an eviction takes
/// effect at once. The first look-up creates the tracer and reads its key on a separate thread. The
/// span waits for it for up to a second; later spans are unrouted until it completes. A failed
/// look-up is retried after a second, or after ten times its duration (at most a minute), and
/// logged at most once a minute.
///
/// The provider does not keep the registry alive. Once the registry is gone, spans in scopes of its
/// handles are refused and counted as after a shutdown, and spans outside any scope are unrouted.
///
/// ```
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use tracer_registry::{LookupError, TracerRegistry};
///
/// # fn demo(registry: &TracerRegistry) -> Result<(), LookupError> {
/// let driver = registry.routing_provider().tracer("database-driver");       // once, at start-up
///
/// let acme = registry.tenant("acme")?;
/// acme.in_span("request", |_| drop(driver.start("query")));            // a child of `request`, in acme's project
///
/// drop(driver.start("housekeeping"));                                       // outside any scope, without a default: not recorded
/// assert_eq!(registry.status().unrouted.spans, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RoutingProvider(Arc<Shared>);

struct Shared {
    routing: Routing,
    /// Records nothing.
    noop: SdkTracerProvider,
}

/// Routes spans outside any scope.
pub(crate) struct Routing {
    registry: WeakRegistry,
    pub(crate) unrouted: Arc<Unrouted>,
}

/// A tracer of a [`RoutingProvider`], for one instrumentation scope.
#[derive(Clone)]
pub struct RoutingTracer {
    provider: RoutingProvider,
    instrumentation: InstrumentationScope,
}

impl TracerRegistry {
    /// Returns a provider for code without tenants. Its spans go to the tracer of their scope, and
    /// outside any scope to `routing.default` of the configuration.
    pub fn routing_provider(&self) -> RoutingProvider {
        // Sets everything that environment variables could set.
        let noop = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_sampler(Sampler::AlwaysOff)
            .build();
        RoutingProvider(Arc::new(Shared {
            routing: Routing::new(self),
            noop,
        }))
    }
}

impl Routing {
    pub(crate) fn new(registry: &TracerRegistry) -> Self {
        Self {
            registry: registry.downgrade(),
            unrouted: Arc::clone(registry.unrouted()),
        }
    }

    /// Returns the default tracer for spans in a context without a scope, unless the context is
    /// untraced.
    pub(crate) fn default_tracer(&self, cx: &Context) -> Option<TracerHandle> {
        if context::is_untraced(cx) {
            return None;
        }
        self.registry.default_tracer()
    }
}

impl RoutingProvider {
    /// Returns the number of spans of the registry that were not recorded because no tracer
    /// applied. Works also after the registry is gone.
    pub fn unrouted(&self) -> u64 {
        self.0.routing.unrouted.status().spans
    }

    /// Returns the tracer for a span with this parent context.
    pub(crate) fn route(&self, cx: &Context) -> Option<TracerHandle> {
        let scoped = Scope::from(cx.clone()).tracer();
        if scoped.is_some() || context::is_untraced(cx) {
            return scoped;
        }
        let now = Scope::current();
        now.tracer().or_else(|| self.0.routing.default_tracer(now.context()))
    }

    /// Counts a span without a tracer. Returns the context that decided: the current one if only
    /// that is untraced, else the given one.
    fn count_unrouted(&self, cx: &Context) -> Context {
        let now = context::current();
        let is_current = context::is_untraced(&now) && !context::is_untraced(cx);
        let decisive = if is_current { now } else { cx.clone() };
        self.0.routing.unrouted.note_span(&decisive);
        decisive
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

impl RoutingTracer {
    fn noop(&self, builder: SpanBuilder) -> RegistrySpan {
        let noop = self.provider.0.noop.tracer_with_scope(self.instrumentation.clone());
        RegistrySpan::new(noop.build_with_context(builder, &Context::new()), Moment::now())
    }
}

impl Tracer for RoutingTracer {
    type Span = RegistrySpan;

    // The trait's default methods panic on a thread that is ending, and keep the current context
    // borrowed during the look-up of the default.
    fn start<T: Into<Cow<'static, str>>>(&self, name: T) -> RegistrySpan {
        self.build(SpanBuilder::from_name(name))
    }

    fn build(&self, builder: SpanBuilder) -> RegistrySpan {
        self.build_with_context(builder, Scope::current().context())
    }

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> RegistrySpan {
        // Before the look-up of the default: a suppressed span must not create a tracer.
        if parent_cx.is_telemetry_suppressed() {
            return self.noop(builder);
        }
        let parent_cx = &*context::usable(parent_cx);
        if let Some(tracer) = self.provider.route(parent_cx) {
            let tracer = tracer.tracer_with_scope(self.instrumentation.clone());
            return tracer.build_with_context(builder, parent_cx);
        }
        self.provider.count_unrouted(parent_cx);
        self.noop(builder)
    }

    // The trait's default methods would make the span current without entering its tracer's scope.
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
        let mut parent_cx = context::usable(parent_cx);
        if !parent_cx.is_telemetry_suppressed() {
            if let Some(tracer) = self.provider.route(&parent_cx) {
                let tracer = tracer.tracer_with_scope(self.instrumentation.clone());
                return tracer.in_span_with_builder_and_context(builder, &parent_cx, f);
            }
            // Spans inside it are unrouted too.
            parent_cx = Cow::Owned(self.provider.count_unrouted(&parent_cx));
        }
        let cx = parent_cx.with_span(self.noop(builder));
        let _current = context::attach(&cx);
        f(cx)
    }
}

impl fmt::Debug for RoutingProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingProvider")
            .field("unrouted", &self.unrouted())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RoutingTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingTracer({})", self.instrumentation.name())
    }
}
