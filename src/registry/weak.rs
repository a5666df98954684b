//! Weak registry references, and the default tracer of spans created outside any scope.
//!
//! The default tracer is looked up for each such span, so a tracer removed by a reload or an
//! eviction is never used.

use std::fmt::Display;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use super::default_route::DefaultRoute;
use super::error::LookupError;
use super::handle::{Inner, TracerRegistry};
use crate::context;
#[cfg(feature = "spool")]
use crate::export::SelectorLedger;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

/// A reference that does not keep the registry alive.
#[derive(Clone)]
pub(crate) struct WeakRegistry(Weak<Inner>);

impl WeakRegistry {
    pub(crate) fn of(registry: &Weak<Inner>) -> Self {
        Self(Weak::clone(registry))
    }

    pub(crate) fn upgrade(&self) -> Option<TracerRegistry> {
        self.0.upgrade().map(TracerRegistry)
    }

    /// Returns the tracer of spans outside any scope.
    pub(crate) fn default_tracer(&self) -> Option<TracerHandle> {
        self.with(TracerRegistry::default_tracer)?
    }

    /// Calls a function with the registry if it is still alive.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
        Some(f(&*self.hold()?))
    }

    /// Keeps the registry alive for a short time, if it still is.
    pub(crate) fn hold(&self) -> Option<HeldRegistry> {
        Some(HeldRegistry(Some(self.upgrade()?)))
    }

    /// Loads what a selector has on disk, if its tracer may.
    #[cfg(feature = "spool")]
    pub(crate) fn load(&self, ledger: &Arc<SelectorLedger>) {
        self.with(|registry| registry.0.engine.load(ledger));
    }
}

/// A registry. Its other handles may be dropped meanwhile.
pub(crate) struct HeldRegistry(Option<TracerRegistry>);

impl Deref for HeldRegistry {
    type Target = TracerRegistry;

    fn deref(&self) -> &TracerRegistry {
        self.0.as_ref().expect("taken only on drop")
    }
}

impl Drop for HeldRegistry {
    fn drop(&mut self) {
        // If all other handles were dropped meanwhile, dropping this one delivers the queued data.
        // Do that on another thread, not while a span starts, and not on the engine's.
        if let Some(last) = self.0.take().and_then(|registry| Arc::into_inner(registry.0)) {
            drop(thread::Builder::new().spawn(move || drop(last)));
        }
    }
}

impl TracerRegistry {
    pub(crate) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.0))
    }

    /// Returns the tracer of spans outside any scope if one is configured and can be resolved.
    fn default_tracer(&self) -> Option<TracerHandle> {
        let config = self.0.state.bindings.loaded();
        let selector = config.routing_default()?;
        // A forked child cannot refresh a binding and keeps the current tracer.
        let is_current = |found: &TracerHandle| !found.is_stale() || self.0.check_not_forked().is_err();
        let found = self.0.find(selector).filter(is_current);
        if found.is_some() && self.0.state.check_open().is_ok() {
            return found;
        }
        let selector = selector.clone();
        drop(config);
        self.look_up_default(&selector)
    }

    /// Looks up the default tracer on a separate thread and waits for it for a limited time.
    ///
    /// A separate thread, because this one may be inside OpenTelemetry's code that relies on the
    /// current context, which a secret source may change. A limited time, because a secret source
    /// may wait for work whose spans end up here.
    fn look_up_default(&self, selector: &Selector) -> Option<TracerHandle> {
        // A thread that is creating a tracer, and a forked child, must not wait for one.
        drop(self.0.guard_reentrancy(selector).ok()?);
        self.0.state.check_open().ok()?;
        let (registry, wanted) = (self.clone(), selector.clone());
        match self
            .0
            .default_route
            .wait(move || registry.look_up_default_here(&wanted))
        {
            Ok(in_time) => in_time.then(|| self.0.find(selector))?,
            Err(error) => {
                self.log_default_failure(selector, &error);
                None
            }
        }
    }

    fn look_up_default_here(&self, selector: &Selector) {
        // Spans of a secret source during this look-up do not go to the default tracer.
        context::suppress_on_this_thread();
        let route = &self.0.default_route;
        let start = Instant::now();
        // Also ends if a source panics.
        let _end = EndOnDrop(route);
        let found = panic::catch_unwind(AssertUnwindSafe(|| self.get(selector)));
        match found.unwrap_or_else(|_| Err(LookupError::Panicked(selector.clone()))) {
            Ok(_) | Err(LookupError::Shutdown) => {}
            Err(error) => {
                route.pause_after(start.elapsed());
                self.log_default_failure(selector, &error);
            }
        }
    }

    fn log_default_failure(&self, selector: &Selector, error: &dyn Display) {
        if self.0.default_route.may_log() {
            let unrouted = self.0.unrouted.status().spans;
            tracing::warn!(%selector, unrouted, "cannot resolve the default tracer; spans outside any scope are not recorded: {error}");
        }
    }
}

struct EndOnDrop<'a>(&'a DefaultRoute);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
