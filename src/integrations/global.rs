//! What a process has one of: OpenTelemetry's global provider and propagator, and the registry that stands behind them.
//!
//! The one exception to "no state of the process", and only where the program asks for it.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::context;
use crate::integrations::routing::RoutingProvider;
use crate::registry::{TracerRegistry, WeakRegistry};
use crate::scope::Scope;

static GLOBAL: ArcSwapOption<WeakRegistry> = ArcSwapOption::const_empty();

/// What the propagator writes and reads.
static FIELDS: LazyLock<[String; 3]> = LazyLock::new(|| ["traceparent", "tracestate", "baggage"].map(str::to_owned));

/// Asks something of the registry that was installed last, while it is there. Never this thread's to end.
#[cfg(feature = "macros")]
pub(crate) fn with_global_registry<T>(ask: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
    let installed = GLOBAL.load_full()?;
    installed.with(ask)
}

impl TracerRegistry {
    /// Makes this the registry of the process, for code that asks nobody for a tracer:
    ///
    /// - OpenTelemetry's global tracer provider is a [`RoutingProvider`](Self::routing_provider) of it from now on. Whoever got a tracer from the
    ///   global provider before goes on with what that was, so call this first thing.
    /// - OpenTelemetry's global propagator goes by scopes. Into a request goes what belongs to the tracer that a span which is started there goes
    ///   to, as by [`TracerHandle::inject`](crate::TracerHandle::inject); where that is none, nothing. Out of one that comes in, inside a scope, comes
    ///   what [`TracerHandle::extract`](crate::TracerHandle::extract) takes for that scope's tracer; outside any scope only the remote span, which
    ///   is the parent of the next tracer's first span where that tracer's binding trusts it. Headers choose no tracer.
    /// - [`TracerRegistry::global`] gives it.
    ///
    /// The registry is not kept alive by any of this: keep it, and shut it down. Dropped in place of that while a look-up by name is under way in it, it
    /// ends on a thread of its own when that is over, and a program that returns from `main` meanwhile loses what was not sent. After a shutdown, spans in scopes are counted as
    /// [`AfterShutdown`](crate::status::DropReason::AfterShutdown), those outside any as unrouted; nothing panics.
    ///
    /// Called again, by this registry or another one, the last call holds, as it does for all of OpenTelemetry's globals. So libraries and
    /// tests must not call it.
    #[expect(clippy::disallowed_methods, reason = "this is what it is for")]
    pub fn install_global(&self) {
        let routing = self.routing_provider();
        global::set_text_map_propagator(ScopedPropagator(routing.clone()));
        global::set_tracer_provider(routing);
        GLOBAL.store(Some(Arc::new(self.downgrade())));
    }

    /// The registry that [`install_global`](Self::install_global) was called on last, while it is there.
    pub fn global() -> Option<Self> {
        GLOBAL.load().as_ref()?.upgrade()
    }
}

/// Headers by the scope of the context that they are written from.
#[derive(Debug)]
struct ScopedPropagator(RoutingProvider);

impl TextMapPropagator for ScopedPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let cx = &*context::known(cx);
        if !cx.is_telemetry_suppressed()
            && let Some(tracer) = self.0.route(cx)
        {
            tracer.inject_from(cx, injector);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let cx = &*context::known(cx);
        let scope = Scope::from(cx.clone());
        match scope.tracer() {
            Some(tracer) => tracer.extract_into(cx, extractor),
            // Whose request it is turns out later; whoever enters a scope from here trusts the span or does not. Baggage would be nobody's.
            None => TraceContextPropagator::new().extract_with_context(cx, extractor),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&*FIELDS)
    }
}
