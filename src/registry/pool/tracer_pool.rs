//! The pool of tracers.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::capacity::Capacity;
use super::clock::{ClockHistory, CoarseClock};
use super::slots::{Build, Claim, Slots};
use crate::config::{ExportMode, IdleTimeout, PoolSettings, WhenFull};
use crate::export::{ChangeLog, LineBudget, Ongoing};
use crate::registry::error::LookupError;
use crate::registry::status::PoolStatus;
use crate::selector::{Selector, SelectorKind, Slug};
use crate::tracer::TracerHandle;
use crate::util::fork::ForkLock;

/// Tracers by selector. A selector of one part is found by `&str`.
pub(crate) struct Pool {
    pub(super) single: [Slots<Slug, TracerHandle>; SelectorKind::ALL.len()],
    pub(super) combined: Slots<Selector, TracerHandle>,
    pub(super) clock: CoarseClock,
    pub(super) history: ForkLock<ClockHistory>,
    pub(super) capacity: Capacity,
    pub(super) evicted: AtomicU64,
    began: Instant,
    mode: ExportMode,
}

/// Evaluates an expression with the slots and the key of a selector.
macro_rules! in_slots {
    ($pool:expr, $selector:expr, |$slots:ident, $key:ident| $then:expr) => {
        match $selector.single() {
            Some((part, $key)) => {
                let $slots = &$pool.single[part as usize];
                $then
            }
            None => {
                let ($slots, $key) = (&$pool.combined, $selector);
                $then
            }
        }
    };
}
pub(super) use in_slots;

impl Pool {
    /// `wake` wakes the task that sweeps. In inline `mode` that task may not run, so look-ups
    /// sweep.
    pub(crate) fn new(
        settings: &PoolSettings,
        mode: ExportMode,
        wake: Arc<Notify>,
        lines: Arc<LineBudget>,
        changes: Arc<ChangeLog>,
    ) -> Self {
        let timeout = match settings.idle_timeout {
            IdleTimeout::After(timeout) => Some(timeout),
            IdleTimeout::Never => None,
        };
        Self {
            single: Default::default(),
            combined: Slots::default(),
            clock: CoarseClock::default(),
            history: ForkLock::new(ClockHistory::new(timeout)),
            capacity: Capacity::new(settings, wake, lines, changes),
            evicted: AtomicU64::new(0),
            began: Instant::now(),
            mode,
        }
    }

    /// Returns the tracer of a name if it is ready.
    pub(crate) fn find_single(&self, part: SelectorKind, name: &str) -> Option<TracerHandle> {
        self.single[part as usize].find(name, self.clock.now())
    }

    /// Returns the tracer of a selector if it is ready.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        in_slots!(self, selector, |slots, key| slots.find(key, self.clock.now()))
    }

    /// Returns the tracer of a selector. Creates it with `make` if it is missing, no other caller
    /// is creating it, and there is capacity.
    pub(crate) fn get_or_make(
        &self,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        in_slots!(self, selector, |slots, key| self
            .get_or_make_in(slots, key, selector, make))
    }

    /// Removes a tracer, so that the next look-up creates a new one. Handles, sessions and spans
    /// keep the old one. A tracer being built goes to its waiters and is not kept. Returns whether
    /// there was one.
    pub(crate) fn remove(&self, selector: &Selector) -> bool {
        let removed = in_slots!(self, selector, |slots, key| slots.remove(key));
        self.capacity.release(removed.into());
        removed
    }

    /// Removes this tracer if it is still the pooled one.
    pub(crate) fn retire(&self, tracer: &TracerHandle) {
        let selector = tracer.selector();
        let removed = in_slots!(self, selector, |slots, key| slots
            .remove_if(key, |there| there == tracer));
        self.capacity.release(removed.is_some().into());
        #[cfg(feature = "spool")]
        tracer.lane().leave_pool();
    }

    /// Removes the tracers that are being built. Their waiters get them; the pool does not keep
    /// them.
    pub(crate) fn remove_building(&self, concerned: impl Fn(&Selector) -> bool) {
        let mut removed = self.combined.remove_building(&concerned);
        for (part, slots) in SelectorKind::ALL.into_iter().zip(&self.single) {
            removed += slots.remove_building(|name| concerned(&Selector::of(part, name.clone())));
        }
        self.capacity.release(removed);
    }

    /// Returns all ready tracers.
    pub(crate) fn tracers(&self) -> Vec<TracerHandle> {
        let mut tracers = Vec::with_capacity(self.len());
        for slots in &self.single {
            slots.for_each(|_, tracer, _| tracers.push(tracer.clone()));
        }
        self.combined.for_each(|_, tracer, _| tracers.push(tracer.clone()));
        tracers
    }

    /// Returns the problem of refused look-ups, unless a look-up has found a slot since.
    pub(crate) fn problem(&self) -> Option<Ongoing> {
        self.capacity.problem()
    }

    /// Whether a look-up requested a sweep.
    pub(crate) fn is_sweep_wanted(&self) -> bool {
        self.capacity.is_sweep_wanted()
    }

    /// Interval between sweeps.
    pub(crate) fn period(&self) -> Duration {
        self.history.lock().period()
    }

    /// Time since the pool was created.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    #[cfg(feature = "spool")]
    pub(crate) fn max(&self) -> usize {
        self.capacity.max()
    }

    pub(crate) fn len(&self) -> usize {
        self.capacity.tracers()
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.capacity.status(self.evicted.load(Ordering::Relaxed))
    }

    /// Sweeps or waits for a sweep. Returns whether a retry may succeed. `since` is when the
    /// look-up first found the pool full.
    fn wait_for_capacity(&self, since: Instant) -> bool {
        match self.mode {
            ExportMode::Background => self.capacity.wait_for_sweep(since),
            // No other thread sweeps before the next flush, and a look-up must not wait for a
            // flush.
            ExportMode::Inline => self.capacity.sweep_now(since, || self.sweep(self.age())),
        }
    }

    fn get_or_make_in<K: Eq + Hash + Clone>(
        &self,
        slots: &Slots<K, TracerHandle>,
        key: &K,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        let (mut since, mut is_above) = (None, false);
        let build = loop {
            let admit = || {
                if self.capacity.reserve() {
                    return true;
                }
                is_above = self.capacity.when_full == WhenFull::Grow;
                if is_above {
                    self.capacity.reserve_above();
                }
                is_above
            };
            match slots.claim(key, self.clock.now(), admit) {
                Claim::Found(tracer) => return Ok(tracer),
                Claim::Wait(theirs) => return theirs.wait(),
                Claim::Make(mine) => break mine,
                Claim::Full if self.wait_for_capacity(*since.get_or_insert_with(Instant::now)) => {}
                Claim::Full => {
                    self.capacity.note_rejected(selector);
                    return Err(LookupError::PoolFull {
                        selector: selector.clone(),
                        max_tracers: self.capacity.max(),
                    });
                }
            }
        };
        let mut finish = FinishGuard {
            pool: self,
            slots,
            key,
            build,
            result: Err(LookupError::Panicked(selector.clone())),
        };
        if is_above {
            self.capacity.note_above();
        } else {
            self.capacity.note_admitted();
        }
        finish.result = make();
        finish.result.clone()
    }
}

/// Puts the result into the slot and wakes the waiters, even if building panicked.
struct FinishGuard<'a, K: Eq + Hash + Clone> {
    pool: &'a Pool,
    slots: &'a Slots<K, TracerHandle>,
    key: &'a K,
    build: Arc<Build<TracerHandle>>,
    result: Result<TracerHandle, LookupError>,
}

impl<K: Eq + Hash + Clone> Drop for FinishGuard<'_, K> {
    fn drop(&mut self) {
        let now = self.pool.clock.advance();
        let freed = self.slots.finish(self.key, &self.build, self.result.clone(), now);
        self.pool.capacity.release(freed.into());
    }
}
