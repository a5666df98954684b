//! The pool.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::capacity::Capacity;
use super::clock::{ClockHistory, CoarseClock};
use super::slots::{Asked, Build, Slots};
use crate::config::{ExportMode, IdleTimeout, PoolSettings, WhenFull};
use crate::export::LineBudget;
use crate::registry::error::LookupError;
use crate::registry::status::PoolStatus;
use crate::selector::{Selector, SelectorKind, Slug};
use crate::tracer::TracerHandle;
use crate::util::fork::ForkLock;

/// Tracers by selector. Selectors of one part are found by a plain `&str`.
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
    /// `wake` wakes the task that sweeps. With a `mode` in which it may not run, look-ups sweep themselves.
    pub(crate) fn new(settings: &PoolSettings, mode: ExportMode, wake: Arc<Notify>, lines: Arc<LineBudget>) -> Self {
        let timeout = match settings.idle_timeout {
            IdleTimeout::After(timeout) => Some(timeout),
            IdleTimeout::Never => None,
        };
        Self {
            single: Default::default(),
            combined: Slots::default(),
            clock: CoarseClock::default(),
            history: ForkLock::new(ClockHistory::new(timeout)),
            capacity: Capacity::new(settings, wake, lines),
            evicted: AtomicU64::new(0),
            began: Instant::now(),
            mode,
        }
    }

    /// Returns the tracer of a name, if it was made.
    pub(crate) fn find_single(&self, part: SelectorKind, name: &str) -> Option<TracerHandle> {
        self.single[part as usize].find(name, self.clock.now())
    }

    /// Returns the tracer of a selector, if it was made.
    pub(crate) fn find(&self, selector: &Selector) -> Option<TracerHandle> {
        in_slots!(self, selector, |slots, key| slots.find(key, self.clock.now()))
    }

    /// Returns the tracer of a selector, made by `make` unless another caller made it or is making it, and if there is room.
    pub(crate) fn get_or_make(
        &self,
        selector: &Selector,
        make: impl FnOnce() -> Result<TracerHandle, LookupError>,
    ) -> Result<TracerHandle, LookupError> {
        in_slots!(self, selector, |slots, key| self
            .get_or_make_in(slots, key, selector, make))
    }

    /// Removes a tracer, so that the next look-up makes a new one. Handles, sessions and spans go on with the old one. One that is being
    /// made goes to the look-ups that wait for it, and is not kept. Returns whether there was one.
    pub(crate) fn remove(&self, selector: &Selector) -> bool {
        let removed = in_slots!(self, selector, |slots, key| slots.remove(key));
        self.capacity.release(removed.into());
        removed
    }

    /// Removes this tracer, if it is still the one that look-ups find.
    pub(crate) fn retire(&self, tracer: &TracerHandle) {
        let selector = tracer.selector();
        let removed = in_slots!(self, selector, |slots, key| slots
            .remove_if(key, |there| there == tracer));
        self.capacity.release(removed.is_some().into());
    }

    /// Removes the tracers that are being made. They go to the look-ups that wait for them, and are not kept.
    pub(crate) fn remove_building(&self, concerned: impl Fn(&Selector) -> bool) {
        let mut removed = self.combined.remove_building(&concerned);
        for (part, slots) in SelectorKind::ALL.into_iter().zip(&self.single) {
            removed += slots.remove_building(|name| concerned(&Selector::of(part, name.clone())));
        }
        self.capacity.release(removed);
    }

    /// Returns all tracers that are there.
    pub(crate) fn tracers(&self) -> Vec<TracerHandle> {
        let mut tracers = Vec::with_capacity(self.len());
        for slots in &self.single {
            slots.each(|_, tracer, _| tracers.push(tracer.clone()));
        }
        self.combined.each(|_, tracer, _| tracers.push(tracer.clone()));
        tracers
    }

    /// Whether a look-up wants the pool to be swept.
    pub(crate) fn is_sweep_wanted(&self) -> bool {
        self.capacity.is_sweep_wanted()
    }

    /// How often the pool is to be swept.
    pub(crate) fn period(&self) -> Duration {
        self.history.lock().period()
    }

    /// For how long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn len(&self) -> usize {
        self.capacity.tracers()
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.capacity.status(self.evicted.load(Ordering::Relaxed))
    }

    /// Has the pool swept. Returns false if no tracer was idle. `since` is when the look-up came here first.
    fn make_room(&self, since: Instant) -> bool {
        match self.mode {
            ExportMode::Background => self.capacity.wait_for_sweep(since),
            // No other thread sweeps before the next flush, which must not be waited for.
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
            match slots.ask(key, self.clock.now(), admit) {
                Asked::Found(tracer) => return Ok(tracer),
                Asked::Wait(theirs) => return theirs.wait(),
                Asked::Make(mine) => break mine,
                Asked::NoRoom if self.make_room(*since.get_or_insert_with(Instant::now)) => {}
                Asked::NoRoom => {
                    self.capacity.note_rejected(selector);
                    return Err(LookupError::PoolFull {
                        selector: selector.clone(),
                        max_tracers: self.capacity.max(),
                    });
                }
            }
        };
        let mut finish = Finish {
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

/// Puts the result into the slot and wakes the look-ups that wait, also if making it panicked.
struct Finish<'a, K: Eq + Hash + Clone> {
    pool: &'a Pool,
    slots: &'a Slots<K, TracerHandle>,
    key: &'a K,
    build: Arc<Build<TracerHandle>>,
    result: Result<TracerHandle, LookupError>,
}

impl<K: Eq + Hash + Clone> Drop for Finish<'_, K> {
    fn drop(&mut self) {
        let now = self.pool.clock.advance();
        let freed = self.slots.finish(self.key, &self.build, self.result.clone(), now);
        self.pool.capacity.release(freed.into());
    }
}
