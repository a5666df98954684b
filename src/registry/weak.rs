//! The tracer of spans that are made outside any scope: looked up for each of them, so that it is never one that a reload or an
//! eviction has put away.

use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use tracing::dispatcher::{self, Dispatch};

use super::error::LookupError;
use super::handle::{Inner, TracerRegistry};
use crate::context::{self, Boundary};
use crate::selector::Selector;
use crate::tracer::TracerHandle;

/// How long a span waits for the look-up that it needs.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nobody asks again after a look-up that failed: ten times what that took, within these bounds.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often a default that cannot be had is told of.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A registry that is not kept alive by this.
#[derive(Clone)]
pub(crate) struct WeakRegistry(Weak<Inner>);

/// What had no tracer to go to. Shared by a registry and what routes for it.
#[derive(Debug, Default)]
pub(crate) struct Unrouted {
    boundary: Arc<Boundary>,
    spans: AtomicU64,
    ended_requests: AtomicU64,
    tracing: AtomicU64,
}

/// What code that knows no tenants made, and what was not recorded, since there was no tracer that it belonged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnroutedStatus {
    /// Spans that were started outside any scope, and had no default to go to.
    pub spans: u64,
    /// Those of them that were started in the scope of a request that had ended, where
    /// [`TenantLayer::scope_ends_with_request`](crate::integrations::tower::TenantLayer::scope_ends_with_request) ends the scope too.
    pub ended_requests: u64,
    /// Events and late fields of the `tracing` crate that were left out: the code ran for one tracer, and the `tracing` span that was current
    /// was another one's.
    pub tracing: u64,
    /// How often a scope could not be made current, because its thread had 65,534 attached contexts, the most that OpenTelemetry keeps. Until
    /// the guards of such scopes are dropped, code on the thread runs in no scope: its spans are counted above, and go to no default. Also how often
    /// a scope was entered or a span started in the destructor of a thread's variable, after OpenTelemetry's context was gone: it came to nothing.
    pub unattached: u64,
}

/// What is known of the default where it is not in the pool.
pub(crate) struct DefaultRoute {
    began: Instant,
    /// Before this time nobody asks, in milliseconds since `began`.
    not_before: AtomicU64,
    /// Before this time nobody is told, likewise.
    told_until: AtomicU64,
    /// Since when somebody looks it up.
    under_way: Mutex<Option<Instant>>,
    answered: Condvar,
}

impl Default for DefaultRoute {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            not_before: AtomicU64::new(0),
            told_until: AtomicU64::new(0),
            under_way: Mutex::default(),
            answered: Condvar::new(),
        }
    }
}

impl TracerRegistry {
    pub(crate) fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.0))
    }

    pub(crate) fn unrouted(&self) -> &Arc<Unrouted> {
        &self.0.unrouted
    }

    /// The tracer of spans outside any scope, where one is configured and can be had.
    fn default_tracer(&self) -> Option<TracerHandle> {
        let config = self.0.live.bindings.loaded();
        let selector = config.routing_default()?;
        if let Some(found) = self.find(selector)
            && !found.is_stale()
            && self.0.live.check_open().is_ok()
        {
            return Some(found);
        }
        let selector = selector.clone();
        drop(config);
        self.look_default_up(&selector)
    }

    /// Has it looked up on a thread of its own, and waits for that, but not for long.
    ///
    /// Not on this thread: it may be in the middle of OpenTelemetry's own work with the current context, which cannot be changed meanwhile, and what
    /// a key's source does may change it. And not for long: a key's source may wait for work whose spans come here.
    fn look_default_up(&self, selector: &Selector) -> Option<TracerHandle> {
        let route = &self.0.default_route;
        // A thread that is making a tracer, and whatever is a fork, is not to wait for one.
        drop(self.0.begin_making(selector).ok()?);
        if self.0.live.check_open().is_err() || route.millis() < route.not_before.load(Ordering::Relaxed) {
            return None;
        }
        let mut under_way = route.lock();
        let start = match *under_way {
            Some(start) => start,
            None if route.millis() < route.not_before.load(Ordering::Relaxed) => return None,
            None => {
                let start = Instant::now();
                let (registry, of_thread) = (self.clone(), selector.clone());
                let dispatch = dispatcher::get_default(Dispatch::clone);
                let look = move || dispatcher::with_default(&dispatch, || registry.look_default_up_here(&of_thread));
                let thread = thread::Builder::new().name("tracer-registry-default".to_owned());
                if let Err(error) = thread.spawn(look) {
                    route.pause(PAUSE[0]);
                    self.tell_of_default(selector, &error);
                    return None;
                }
                *under_way = Some(start);
                start
            }
        };
        // Whoever comes while it is under way waits for the same one.
        while *under_way == Some(start) {
            let left = PATIENCE.checked_sub(start.elapsed())?;
            let waited = route.answered.wait_timeout(under_way, left);
            under_way = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(under_way);
        self.find(selector)
    }

    fn look_default_up_here(&self, selector: &Selector) {
        // What a key's source does for it is no span of the default's.
        context::suppress_on_this_thread();
        let route = &self.0.default_route;
        let start = Instant::now();
        // Also where a source panics.
        let _answered = Answered(route);
        let found = panic::catch_unwind(AssertUnwindSafe(|| self.get(selector)));
        match found.unwrap_or_else(|_| Err(LookupError::Panicked(selector.clone()))) {
            Ok(_) | Err(LookupError::Shutdown) => {}
            Err(error) => {
                let [least, most] = PAUSE;
                route.pause((start.elapsed() * 10).clamp(least, most));
                self.tell_of_default(selector, &error);
            }
        }
    }

    fn tell_of_default(&self, selector: &Selector, error: &dyn Display) {
        if self.0.default_route.may_tell() {
            let unrouted = self.0.unrouted.status().spans;
            tracing::warn!(%selector, unrouted, "spans outside any scope are not recorded, for their tracer cannot be had: {error}");
        }
    }
}

impl WeakRegistry {
    pub(crate) fn upgrade(&self) -> Option<TracerRegistry> {
        self.0.upgrade().map(TracerRegistry)
    }

    /// The tracer of spans outside any scope.
    pub(crate) fn default_tracer(&self) -> Option<TracerHandle> {
        self.with(TracerRegistry::default_tracer)?
    }

    /// Asks something of the registry, where it is still there.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&TracerRegistry) -> T) -> Option<T> {
        let registry = self.upgrade()?;
        let answer = ask(&registry);
        // Where everybody else let go of it meanwhile, this is its end, which sends what is left: nothing to be done by whoever starts a span.
        if let Some(last) = Arc::into_inner(registry.0) {
            drop(thread::Builder::new().spawn(move || drop(last)));
        }
        Some(answer)
    }
}

/// The look-up is over when this goes.
struct Answered<'a>(&'a DefaultRoute);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
        self.0.answered.notify_all();
    }
}

impl DefaultRoute {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody asks for a while.
    fn pause(&self, pause: Duration) {
        self.not_before.store(self.millis() + millis(pause), Ordering::Relaxed);
    }

    fn may_tell(&self) -> bool {
        let (now, until) = (self.millis(), self.told_until.load(Ordering::Relaxed));
        let next = now + millis(TOLD_EVERY);
        now >= until
            && self
                .told_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn millis(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// Relaxed: counts, nothing hangs on them.
impl Unrouted {
    pub(crate) fn new(boundary: &Arc<Boundary>) -> Arc<Self> {
        Arc::new(Self {
            boundary: Arc::clone(boundary),
            ..Self::default()
        })
    }

    /// A span was not recorded that was started in this context.
    pub(crate) fn note_span(&self, cx: &Context) {
        self.spans.fetch_add(1, Ordering::Relaxed);
        if context::is_over(cx) {
            self.ended_requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn note_tracing(&self) {
        self.tracing.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> UnroutedStatus {
        UnroutedStatus {
            spans: self.spans.load(Ordering::Relaxed),
            ended_requests: self.ended_requests.load(Ordering::Relaxed),
            tracing: self.tracing.load(Ordering::Relaxed),
            unattached: self.boundary.unattached(),
        }
    }
}
