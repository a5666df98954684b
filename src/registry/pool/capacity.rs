//! Limits the number of tracers, and defines what a look-up does when the pool is full.
//!
//! In a full pool, a look-up requests a sweep (an eviction of idle tracers) on the engine's
//! threads, and waits for one that begins after the request. So it is refused only if that sweep
//! finds no idle tracer, or after [`MAX_WAIT`]. If the pool may grow, it requests a sweep and does
//! not wait. Without engine threads (`export.mode = "inline"`) it runs the sweep itself.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::{PoolSettings, WhenFull};
use crate::export::{Begun, ChangeKind, ChangeLog, End, Episode, HEALTH, LineBudget, Ongoing, Problem, Start};
use crate::registry::status::PoolStatus;
use crate::selector::Selector;
use crate::util::fork::{ForkLock, wait_timeout};

/// Maximum time a look-up waits for a free slot. Reached only if the engine's threads are busy or
/// gone, or if other look-ups keep taking the freed slots.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// A sweep for a waiting look-up frees `max / SLOTS_PER_ADVANCE + 1` slots, so that the next
/// look-ups need no sweep.
const SLOTS_PER_ADVANCE: usize = 16;

/// Capacity of one pool. Its atomics are relaxed, because they order no other memory.
pub(super) struct Capacity {
    max: usize,
    pub(super) when_full: WhenFull,
    tracers: AtomicUsize,
    rejected: AtomicU64,
    grown: AtomicU64,
    warned: AtomicBool,
    full: ForkLock<Episode>,
    lines: Arc<LineBudget>,
    changes: Arc<ChangeLog>,
    /// Whether a look-up was refused since the pool last had a free slot.
    is_full: AtomicBool,
    sweeps: ForkLock<Sweeps>,
    swept: Condvar,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Sweeps {
    begun: u64,
    ended: u64,
    /// The last sweep had to evict tracers, but none was idle.
    freed_nothing: bool,
    /// Look-ups that wait for a sweep.
    waiting: usize,
    /// Whether a look-up created a tracer above the limit and requested a sweep without waiting.
    is_above: bool,
}

impl Capacity {
    pub(super) fn new(
        settings: &PoolSettings,
        wake: Arc<Notify>,
        lines: Arc<LineBudget>,
        changes: Arc<ChangeLog>,
    ) -> Self {
        Self {
            max: settings.max_tracers,
            when_full: settings.when_full,
            tracers: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            grown: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            full: ForkLock::default(),
            lines,
            changes,
            is_full: AtomicBool::new(false),
            sweeps: ForkLock::default(),
            swept: Condvar::new(),
            wake,
        }
    }

    /// Reserves a slot for one tracer. Returns false if the pool is full.
    pub(super) fn reserve(&self) -> bool {
        let more = |tracers: usize| (tracers < self.max).then_some(tracers + 1);
        self.tracers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Reserves a slot for one tracer above the limit.
    pub(super) fn reserve_above(&self) {
        self.tracers.fetch_add(1, Ordering::Relaxed);
        self.grown.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn release(&self, tracers: usize) {
        self.tracers.fetch_sub(tracers, Ordering::Relaxed);
    }

    pub(super) fn tracers(&self) -> usize {
        self.tracers.load(Ordering::Relaxed)
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Waits for a sweep. Returns whether a retry may succeed. `since` is when the look-up first
    /// found the pool full.
    pub(super) fn wait_for_sweep(&self, since: Instant) -> bool {
        let mut sweeps = self.sweeps.lock();
        // Not the running sweep: a tracer that it has already checked may be idle by now.
        let wanted = sweeps.begun + 1;
        sweeps.waiting += 1;
        self.wake.notify_one();
        loop {
            let left = MAX_WAIT.saturating_sub(since.elapsed());
            if sweeps.ended >= wanted || left.is_zero() {
                sweeps.waiting -= 1;
                return self.may_have_capacity(&sweeps) && !left.is_zero();
            }
            sweeps = wait_timeout(&self.swept, sweeps, left).0;
        }
    }

    /// Runs `sweep` on the calling thread. Returns whether a retry may succeed.
    pub(super) fn sweep_now(&self, since: Instant, sweep: impl FnOnce() -> usize) -> bool {
        if since.elapsed() >= MAX_WAIT {
            // Other look-ups keep taking the freed slots.
            return false;
        }
        self.sweeps.lock().waiting += 1;
        let freed = sweep();
        let mut sweeps = self.sweeps.lock();
        sweeps.waiting -= 1;
        // Concurrent sweeps may have freed slots, and other look-ups may have taken them.
        freed > 0 || self.may_have_capacity(&sweeps)
    }

    /// Whether a retry may succeed: the last sweep freed a slot or needed none, or the pool is
    /// below its limit. Other look-ups may have taken the free slots since.
    fn may_have_capacity(&self, sweeps: &Sweeps) -> bool {
        !sweeps.freed_nothing || self.tracers() < self.max
    }

    /// Whether a look-up requested a sweep.
    pub(super) fn is_sweep_wanted(&self) -> bool {
        let sweeps = self.sweeps.lock();
        sweeps.waiting > 0 || sweeps.is_above
    }

    /// Starts a sweep. Returns how many tracers it should evict.
    pub(super) fn begin_sweep(&self) -> usize {
        let mut sweeps = self.sweeps.lock();
        sweeps.begun += 1;
        let above = usize::from(std::mem::take(&mut sweeps.is_above));
        let wanted = match sweeps.waiting + above {
            0 => 0,
            waiting => waiting.max(1 + self.max / SLOTS_PER_ADVANCE),
        };
        drop(sweeps);
        (self.tracers() + wanted).saturating_sub(self.max)
    }

    /// Ends a sweep that was to evict `too_many` tracers and evicted `freed`.
    pub(super) fn end_sweep(&self, too_many: usize, freed: usize) {
        let mut sweeps = self.sweeps.lock();
        sweeps.ended = sweeps.begun;
        sweeps.freed_nothing = too_many > 0 && freed == 0;
        drop(sweeps);
        self.swept.notify_all();
    }

    /// Counts a refused look-up. Logs and records the first one since a look-up found a slot, within
    /// the limits.
    pub(super) fn note_rejected(&self, selector: &Selector) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let start = {
            let (mut full, now) = (self.full.lock(), Instant::now());
            full.note(1, now);
            self.is_full.store(true, Ordering::Relaxed);
            full.begin(now, &self.lines)
        };
        let Some(Start { is_new, line }) = start else { return };
        if is_new {
            let kind = ChangeKind::ProblemBegan(Problem::PoolFull);
            self.changes.record(kind, Some(selector), None, None);
        }
        if let Some(Begun { count, left_out }) = line {
            tracing::warn!(
                target: HEALTH, %selector, max_tracers = self.max, count, left_out,
                "the pool is full and no tracer is idle: refusing look-ups of new names"
            );
        }
    }

    /// Ends an episode of refused look-ups, because a look-up found a slot.
    pub(super) fn note_admitted(&self) {
        // Read first: the common case takes no lock and writes no shared cache line.
        if !self.is_full.load(Ordering::Relaxed) || !self.is_full.swap(false, Ordering::Relaxed) {
            return;
        }
        let over = self.full.lock().end();
        let Some(End { line }) = over else { return };
        let kind = ChangeKind::ProblemEnded(Problem::PoolFull);
        self.changes.record(kind, None, None, None);
        if let Some(count) = line {
            tracing::info!(target: HEALTH, max_tracers = self.max, count, "the pool has free slots again: look-ups of new names succeed");
        }
    }

    /// Returns the problem of refused look-ups, unless a look-up has found a slot since.
    pub(super) fn problem(&self) -> Option<Ongoing> {
        self.full.lock().ongoing()
    }

    /// Requests a sweep because a tracer was created above the limit. Does not wait. Logs the first
    /// such tracer.
    pub(super) fn note_above(&self) {
        self.sweeps.lock().is_above = true;
        self.wake.notify_one();
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_tracers = self.max,
                "created a tracer above pool.max_tracers because pool.when_full is \"grow\"; further ones are counted, not logged"
            );
        }
    }

    pub(super) fn status(&self, evicted: u64) -> PoolStatus {
        PoolStatus {
            tracers: self.tracers(),
            max_tracers: self.max,
            evicted,
            rejected: self.rejected.load(Ordering::Relaxed),
            grown: self.grown.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::config::IdleTimeout;

    #[test]
    fn a_look_up_that_waits_during_a_sweep_may_use_slots_that_sweep_freed() {
        let settings = PoolSettings {
            max_tracers: 16,
            idle_timeout: IdleTimeout::Never,
            when_full: WhenFull::Reject,
        };
        for taken_by_others in [0, 2] {
            let capacity = &Capacity::new(&settings, Arc::default(), Arc::default(), Arc::default());
            while capacity.reserve() {}
            capacity.begin_sweep();
            thread::scope(|threads| {
                // Starts in the future, so that the test cannot run into the time limit.
                let since = Instant::now() + Duration::from_secs(3600);
                let second = threads.spawn(move || capacity.wait_for_sweep(since));
                while !capacity.is_sweep_wanted() {
                    thread::yield_now();
                }
                capacity.release(2);
                capacity.end_sweep(2, 2);
                let too_many = capacity.begin_sweep();
                assert_eq!(too_many, 0, "the free slots cover the advance");
                for _ in 0..taken_by_others {
                    assert!(capacity.reserve());
                }
                capacity.end_sweep(too_many, 0);
                assert!(second.join().expect("no panic"), "retries");
            });
            capacity.begin_sweep();
            capacity.end_sweep(1, 0);
            let is_full = capacity.tracers() == 16;
            assert_eq!(capacity.may_have_capacity(&capacity.sweeps.lock()), !is_full);
        }
    }
}
