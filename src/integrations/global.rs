//! OpenTelemetry's global provider and propagator, and the registry behind them.
//!
//! The only process-wide state of this crate, and only if the program calls `install_global`.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::context;
use crate::integrations::routing::RoutingProvider;
use crate::propagation::PROPAGATED;
use crate::registry::{TracerRegistry, WeakRegistry};
use crate::scope::Scope;

static GLOBAL: ArcSwapOption<WeakRegistry> = ArcSwapOption::const_empty();

/// Headers that the propagator writes and reads.
static FIELDS: LazyLock<[String; 3]> = LazyLock::new(|| PROPAGATED.map(|name| name.to_string()));

/// Passes the installed registry to a closure, if it still exists. Never shuts the registry down on
/// this thread.
#[cfg(feature = "macros")]
pub(crate) fn with_global_registry<T>(f: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
    let installed = GLOBAL.load_full()?;
    installed.with(f)
}

impl TracerRegistry {
    /// Installs this registry as the process-wide one, for code that has no handle to a registry.
    ///
    /// - OpenTelemetry's global tracer provider becomes this registry's
    ///   [`RoutingProvider`](Self::routing_provider). Tracers obtained earlier keep the old
    ///   provider, so call this first.
    /// - OpenTelemetry's global propagator follows scopes. On injection it writes the headers of
    ///   the tracer that a span started there would go to, as
    ///   [`TracerHandle::inject`](crate::TracerHandle::inject); without such a tracer, it writes
    ///   nothing. On extraction inside a scope it does what
    ///   [`TracerHandle::extract`](crate::TracerHandle::extract) does for the scope's tracer.
    ///   Outside any scope it takes only the remote span, which becomes the parent of the next
    ///   tracer's first span if that tracer's binding trusts it. Headers never choose a tracer.
    /// - [`TracerRegistry::global`] returns this registry.
    ///
    /// None of these keeps the registry alive: keep it, and shut it down. If it is dropped while a
    /// look-up by name is running, it shuts down on a separate thread after the look-up; data that
    /// is unsent when `main` returns is lost. After a shutdown, spans in scopes are counted as
    /// [`AfterShutdown`](crate::status::DropReason::AfterShutdown), other spans as unrouted.
    /// Nothing panics.
    ///
    /// The last call wins, by this or another registry, as for all OpenTelemetry globals. Libraries
    /// and tests must not call it.
    #[expect(clippy::disallowed_methods, reason = "installs the globals")]
    pub fn install_global(&self) {
        let routing = self.routing_provider();
        global::set_text_map_propagator(ScopedPropagator(routing.clone()));
        global::set_tracer_provider(routing);
        GLOBAL.store(Some(Arc::new(self.downgrade())));
    }

    /// Returns the registry that [`install_global`](Self::install_global) was last called on, if it
    /// still exists.
    pub fn global() -> Option<Self> {
        GLOBAL.load().as_ref()?.upgrade()
    }
}

/// Writes and reads headers by the scope of the given context.
#[derive(Debug)]
struct ScopedPropagator(RoutingProvider);

impl TextMapPropagator for ScopedPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let cx = &*context::usable(cx);
        if !cx.is_telemetry_suppressed()
            && let Some(tracer) = self.0.route(cx)
        {
            tracer.inject_from(cx, injector);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let cx = &*context::usable(cx);
        let scope = Scope::from(cx.clone());
        match scope.tracer() {
            Some(tracer) => tracer.extract_into(cx, extractor),
            // The tracer whose scope is entered next decides whether to trust the span. Baggage
            // would have no owner.
            None => TraceContextPropagator::new().extract_with_context(cx, extractor),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&*FIELDS)
    }
}
