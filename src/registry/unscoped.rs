//! The tracer of spans that are made outside any scope: looked up for each of them, so that it is never one that a reload or an
//! eviction has put away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Inner, LookupError, TracerRegistry};
use crate::context;
use crate::selector::Selector;
use crate::tracer::TracerHandle;

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
    spans: AtomicU64,
    tracing: AtomicU64,
}

/// What code that knows no tenants made, and what was not recorded, since there was no tracer that it belonged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnroutedStatus {
    /// Spans that were started outside any scope, and had no default to go to.
    pub spans: u64,
    /// Events and late fields of the `tracing` crate that were left out: the code ran for one tracer, and the `tracing` span that was current
    /// was another one's.
    pub tracing: u64,
}

/// What is known of the default that could not be had.
pub(super) struct DefaultRoute {
    began: Instant,
    /// Before this time nobody asks, in milliseconds since `began`; zero where no look-up has failed.
    not_before: AtomicU64,
    /// Before this time nobody is told, likewise.
    told_until: AtomicU64,
}

impl Default for DefaultRoute {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            not_before: AtomicU64::new(0),
            told_until: AtomicU64::new(0),
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
    pub(crate) fn default_tracer(&self) -> Option<TracerHandle> {
        let config = self.0.bindings.loaded();
        let selector = config.routing_default()?;
        if let Some(found) = self.find(selector)
            && !found.is_stale()
            && self.0.check_open().is_ok()
        {
            return Some(found);
        }
        let selector = selector.clone();
        drop(config);
        self.look_default_up(&selector)
    }

    fn look_default_up(&self, selector: &Selector) -> Option<TracerHandle> {
        let route = &self.0.default_route;
        if !route.may_ask() {
            return None;
        }
        // What a key's source does for it is no span of the default's.
        let _quiet = context::suppress();
        let start = Instant::now();
        match self.get(selector) {
            Ok(tracer) => {
                route.not_before.store(0, Ordering::Relaxed);
                Some(tracer)
            }
            // Nothing that a pause would help.
            Err(LookupError::Shutdown | LookupError::Forked | LookupError::Recursive { .. }) => None,
            Err(error) => {
                let [least, most] = PAUSE;
                route.not_before.store(
                    route.millis() + millis((start.elapsed() * 10).clamp(least, most)),
                    Ordering::Relaxed,
                );
                if route.may_tell() {
                    let unrouted = self.0.unrouted.status().spans;
                    tracing::warn!(%selector, unrouted, "spans outside any scope are not recorded, for their tracer cannot be had: {error}");
                }
                None
            }
        }
    }
}

impl WeakRegistry {
    pub(crate) fn upgrade(&self) -> Option<TracerRegistry> {
        self.0.upgrade().map(TracerRegistry)
    }
}

impl DefaultRoute {
    /// Whether this thread may look the default up. Until a look-up has failed all may, and wait for one another as with any look-up; after
    /// that it is one at a time, and none before its time.
    fn may_ask(&self) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        if not_before == 0 {
            return true;
        }
        let now = self.millis();
        // Whoever comes first moves the time on.
        let next = now + millis(PAUSE[1]);
        now >= not_before
            && self
                .not_before
                .compare_exchange(not_before, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
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
    pub(crate) fn note_span(&self) {
        self.spans.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "tracing-layer")]
    pub(crate) fn note_tracing(&self) {
        self.tracing.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> UnroutedStatus {
        UnroutedStatus {
            spans: self.spans.load(Ordering::Relaxed),
            tracing: self.tracing.load(Ordering::Relaxed),
        }
    }
}
