//! The globals of a process: OpenTelemetry's provider and propagator, and the registry behind them.
//!
//! The one exception to "no state of the process", and only if the program asks for it.

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

/// The headers that the propagator writes and reads.
static FIELDS: LazyLock<[String; 3]> = LazyLock::new(|| PROPAGATED.map(|name| name.to_string()));

/// Passes the registry that was installed last to a closure, if it still exists. Never shuts it down on this thread.
#[cfg(feature = "macros")]
pub(crate) fn with_global_registry<T>(ask: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
    let installed = GLOBAL.load_full()?;
    installed.with(ask)
}

impl TracerRegistry {
    /// Makes this the registry of the process, for code that asks no registry for a tracer:
    ///
    /// - OpenTelemetry's global tracer provider becomes a [`RoutingProvider`](Self::routing_provider) of it. Tracers that were taken from the
    ///   global provider before keep the old one, so call this first.
    /// - OpenTelemetry's global propagator goes by scopes. It writes into a request what belongs to the tracer that a span started there would go
    ///   to, as [`TracerHandle::inject`](crate::TracerHandle::inject); without such a tracer, nothing. From a request that comes in it takes, inside a
    ///   scope, what [`TracerHandle::extract`](crate::TracerHandle::extract) takes for that scope's tracer. Outside any scope it takes only the remote
    ///   span, which is the parent of the next tracer's first span if that tracer's binding trusts it. Headers choose no tracer.
    /// - [`TracerRegistry::global`] returns it.
    ///
    /// None of this keeps the registry alive: keep it, and shut it down. If it is dropped instead while a look-up by name is under way, it ends on a
    /// thread of its own after the look-up, and a program that returns from `main` meanwhile loses what was not sent. After a shutdown, spans in scopes
    /// are counted as [`AfterShutdown`](crate::status::DropReason::AfterShutdown), those outside any as unrouted; nothing panics.
    ///
    /// The last call holds, by this registry or another one, as for all of OpenTelemetry's globals. So libraries and tests must not call it.
    #[expect(clippy::disallowed_methods, reason = "this is what it is for")]
    pub fn install_global(&self) {
        let routing = self.routing_provider();
        global::set_text_map_propagator(ScopedPropagator(routing.clone()));
        global::set_tracer_provider(routing);
        GLOBAL.store(Some(Arc::new(self.downgrade())));
    }

    /// Returns the registry that [`install_global`](Self::install_global) was called on last, if it still exists.
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
            // The tracer is not known yet. The tracer whose scope is entered next trusts the span or not. Baggage would have no owner.
            None => TraceContextPropagator::new().extract_with_context(cx, extractor),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&*FIELDS)
    }
}
