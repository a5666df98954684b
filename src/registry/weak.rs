//! A registry that is not kept alive, and the tracer of spans that are made outside any scope.
//!
//! That tracer is looked up for each such span, so it is never one that a reload or an eviction removed.

use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Instant;

use super::default_route::DefaultRoute;
use super::error::LookupError;
use super::handle::{Inner, TracerRegistry};
use crate::context;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

/// A registry that is not kept alive by this.
#[derive(Clone)]
pub(crate) struct WeakRegistry(Weak<Inner>);

impl WeakRegistry {
    pub(crate) fn upgrade(&self) -> Option<TracerRegistry> {
        self.0.upgrade().map(TracerRegistry)
    }

    /// Returns the tracer of spans outside any scope.
    pub(crate) fn default_tracer(&self) -> Option<TracerHandle> {
        self.with(TracerRegistry::default_tracer)?
    }

    /// Asks something of the registry, if it is still there.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
        let registry = self.upgrade()?;
        let answer = ask(&registry);
        // If all others dropped it meanwhile, this ends it, which sends what is left: not on a thread that only starts a span.
        if let Some(last) = Arc::into_inner(registry.0) {
            drop(thread::Builder::new().spawn(move || drop(last)));
        }
        Some(answer)
    }
}

impl TracerRegistry {
    pub(crate) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.0))
    }

    /// Returns the tracer of spans outside any scope, if one is configured and can be resolved.
    fn default_tracer(&self) -> Option<TracerHandle> {
        let config = self.0.state.bindings.loaded();
        let selector = config.routing_default()?;
        // A forked child cannot ask for a binding again, and keeps what there is.
        let is_current = |found: &TracerHandle| !found.is_stale() || self.0.check_not_forked().is_err();
        let found = self.0.find(selector).filter(is_current);
        if found.is_some() && self.0.state.check_open().is_ok() {
            return found;
        }
        let selector = selector.clone();
        drop(config);
        self.look_default_up(&selector)
    }

    /// Has it looked up on a thread of its own, and waits for that, but not for long.
    ///
    /// Not on this thread: it may be in the middle of OpenTelemetry's own work with the current context, which must not change meanwhile,
    /// and a key's source may change it. And not for long: a key's source may wait for work whose spans come here.
    fn look_default_up(&self, selector: &Selector) -> Option<TracerHandle> {
        // A thread that is making a tracer, and a forked child, must not wait for one.
        drop(self.0.begin_making(selector).ok()?);
        self.0.state.check_open().ok()?;
        let (registry, wanted) = (self.clone(), selector.clone());
        match self
            .0
            .default_route
            .wait(move || registry.look_default_up_here(&wanted))
        {
            Ok(in_time) => in_time.then(|| self.0.find(selector))?,
            Err(error) => {
                self.log_no_default(selector, &error);
                None
            }
        }
    }

    fn look_default_up_here(&self, selector: &Selector) {
        // What a key's source does for it is no span of the default's.
        context::suppress_on_this_thread();
        let route = &self.0.default_route;
        let start = Instant::now();
        // Also if a source panics.
        let _end = EndWhenDropped(route);
        let found = panic::catch_unwind(AssertUnwindSafe(|| self.get(selector)));
        match found.unwrap_or_else(|_| Err(LookupError::Panicked(selector.clone()))) {
            Ok(_) | Err(LookupError::Shutdown) => {}
            Err(error) => {
                route.pause_after(start.elapsed());
                self.log_no_default(selector, &error);
            }
        }
    }

    fn log_no_default(&self, selector: &Selector, error: &dyn Display) {
        if self.0.default_route.may_log() {
            let unrouted = self.0.unrouted.status().spans;
            tracing::warn!(%selector, unrouted, "spans outside any scope are not recorded, for their tracer cannot be had: {error}");
        }
    }
}

struct EndWhenDropped<'a>(&'a DefaultRoute);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
