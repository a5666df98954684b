//! How many tracers there are and may be, and what a look-up does if there is no room.
//!
//! A look-up evicts no tracer itself. It asks for a sweep, which runs on the engine's threads, and waits for one that begins after it asked:
//! so it is refused only if no tracer was idle. Without these threads (`export.mode = "inline"`) it sweeps itself. If the pool may grow, it
//! asks for a sweep and does not wait.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::{PoolSettings, WhenFull};
use crate::export::{Begun, Episode, HEALTH, LineBudget};
use crate::registry::status::PoolStatus;
use crate::selector::Selector;
use crate::util::fork::{ForkLock, wait_timeout};

/// How long a look-up waits for room at the most; reached only if the engine's threads have no time, or are gone.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Of so many tracers one is evicted in advance, so that not each new one waits for a sweep.
const IN_ADVANCE: usize = 16;

/// The capacity of one pool. Relaxed, throughout: only the numbers themselves matter.
pub(super) struct Capacity {
    max: usize,
    pub(super) when_full: WhenFull,
    tracers: AtomicUsize,
    rejected: AtomicU64,
    grown: AtomicU64,
    warned: AtomicBool,
    full: ForkLock<Episode>,
    lines: Arc<LineBudget>,
    /// A line was logged that look-ups are refused.
    is_full_logged: AtomicBool,
    sweeps: ForkLock<Sweeps>,
    swept: Condvar,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Sweeps {
    begun: u64,
    ended: u64,
    /// The last one was to evict tracers, and none was idle.
    in_vain: bool,
    /// Look-ups that wait for one.
    waiting: usize,
    /// A look-up went above the bound, and waits for none.
    is_above: bool,
}

impl Capacity {
    pub(super) fn new(settings: &PoolSettings, wake: Arc<Notify>, lines: Arc<LineBudget>) -> Self {
        Self {
            max: settings.max_tracers,
            when_full: settings.when_full,
            tracers: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            grown: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            full: ForkLock::default(),
            lines,
            is_full_logged: AtomicBool::new(false),
            sweeps: ForkLock::default(),
            swept: Condvar::new(),
            wake,
        }
    }

    /// Reserves room for one tracer. Returns false if there is none.
    pub(super) fn reserve(&self) -> bool {
        let more = |tracers: usize| (tracers < self.max).then_some(tracers + 1);
        self.tracers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Reserves room for one tracer above the bound.
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

    /// Waits until there may be room. Returns false if no tracer was idle. `since` is when the look-up came here first.
    pub(super) fn wait_for_sweep(&self, since: Instant) -> bool {
        let mut sweeps = self.sweeps.lock();
        // Not the one that is running: it may have passed a tracer that has become idle since.
        let wanted = sweeps.begun + 1;
        sweeps.waiting += 1;
        self.wake.notify_one();
        loop {
            let left = LONGEST_WAIT.saturating_sub(since.elapsed());
            if sweeps.ended >= wanted || left.is_zero() {
                sweeps.waiting -= 1;
                return self.may_have_room(&sweeps) && !left.is_zero();
            }
            sweeps = wait_timeout(&self.swept, sweeps, left).0;
        }
    }

    /// Runs `sweep` in the look-up itself. Returns false if that made no room.
    pub(super) fn sweep_now(&self, since: Instant, sweep: impl FnOnce() -> usize) -> bool {
        if since.elapsed() >= LONGEST_WAIT {
            // Others took what it freed, again and again.
            return false;
        }
        self.sweeps.lock().waiting += 1;
        let freed = sweep();
        let mut sweeps = self.sweeps.lock();
        sweeps.waiting -= 1;
        // Others that sweep at the same time may have made room, or have taken it.
        freed > 0 || self.may_have_room(&sweeps)
    }

    /// Whether a retry may succeed: the last sweep freed something, or the pool is below its limit. A sweep that found room frees nothing,
    /// and other look-ups may have taken that room since.
    fn may_have_room(&self, sweeps: &Sweeps) -> bool {
        !sweeps.in_vain || self.tracers() < self.max
    }

    /// Whether a look-up asked for a sweep.
    pub(super) fn is_sweep_wanted(&self) -> bool {
        let sweeps = self.sweeps.lock();
        sweeps.waiting > 0 || sweeps.is_above
    }

    /// A sweep begins. Returns how many tracers are too many.
    pub(super) fn begin_sweep(&self) -> usize {
        let mut sweeps = self.sweeps.lock();
        sweeps.begun += 1;
        let above = usize::from(std::mem::take(&mut sweeps.is_above));
        let wanted = match sweeps.waiting + above {
            0 => 0,
            waiting => waiting.max(1 + self.max / IN_ADVANCE),
        };
        drop(sweeps);
        (self.tracers() + wanted).saturating_sub(self.max)
    }

    /// A sweep ended, and evicted so many of the tracers that were too many.
    pub(super) fn end_sweep(&self, too_many: usize, freed: usize) {
        let mut sweeps = self.sweeps.lock();
        sweeps.ended = sweeps.begun;
        sweeps.in_vain = too_many > 0 && freed == 0;
        drop(sweeps);
        self.swept.notify_all();
    }

    /// Counts a look-up that is refused, and logs it if it is the first, with a pause between two lines.
    pub(super) fn note_rejected(&self, selector: &Selector) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let begun = {
            let (mut full, now) = (self.full.lock(), Instant::now());
            full.note(1, now);
            let begun = full.begin(now, &self.lines);
            self.is_full_logged.fetch_or(begun.is_some(), Ordering::Relaxed);
            begun
        };
        if let Some(Begun { count, left_out }) = begun {
            tracing::warn!(
                target: HEALTH, %selector, max_tracers = self.max, count, left_out,
                "the pool is full and no tracer in it is idle: look-ups of further names are refused"
            );
        }
    }

    /// A look-up found room.
    pub(super) fn note_admitted(&self) {
        // Read first: look-ups that find room wait for no lock.
        if !self.is_full_logged.load(Ordering::Relaxed) || !self.is_full_logged.swap(false, Ordering::Relaxed) {
            return;
        }
        let over = self.full.lock().end();
        if let Some(count) = over {
            tracing::info!(target: HEALTH, max_tracers = self.max, count, "the pool has room again: look-ups of further names succeed");
        }
    }

    /// A look-up went above the bound: has the pool swept without waiting, and logs the first one.
    pub(super) fn note_above(&self) {
        self.sweeps.lock().is_above = true;
        self.wake.notify_one();
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_tracers = self.max,
                "a tracer was made above pool.max_tracers, because pool.when_full is \"grow\"; further ones are counted, not logged"
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
    fn a_look_up_that_asks_during_a_sweep_gets_the_room_that_one_made() {
        let settings = PoolSettings {
            max_tracers: 16,
            idle_timeout: IdleTimeout::Never,
            when_full: WhenFull::Reject,
        };
        for taken_by_others in [0, 2] {
            let capacity = &Capacity::new(&settings, Arc::default(), Arc::default());
            while capacity.reserve() {}
            capacity.begin_sweep();
            thread::scope(|threads| {
                // With a beginning that is not over, so that it does not matter how long this takes.
                let since = Instant::now() + Duration::from_secs(3600);
                let second = threads.spawn(move || capacity.wait_for_sweep(since));
                while !capacity.is_sweep_wanted() {
                    thread::yield_now();
                }
                capacity.release(2);
                capacity.end_sweep(2, 2);
                let too_many = capacity.begin_sweep();
                assert_eq!(too_many, 0, "there is room for as many as it makes in advance");
                for _ in 0..taken_by_others {
                    assert!(capacity.reserve());
                }
                capacity.end_sweep(too_many, 0);
                assert!(second.join().expect("no panic"), "it is to try, and to ask again");
            });
            capacity.begin_sweep();
            capacity.end_sweep(1, 0);
            let is_full = capacity.tracers() == 16;
            assert_eq!(capacity.may_have_room(&capacity.sweeps.lock()), !is_full);
        }
    }
}
