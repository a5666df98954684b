//! How many tracers there are and may be, and what a look-up does where there is no room.
//!
//! A look-up takes no tracer out itself. It asks for a look through the pool, which is done on the engine's threads, and waits for one that
//! begins after it asked: so it is refused only where nothing was idle. Where these threads are not there (`export.mode = "inline"`) it looks
//! itself. Where the pool may grow it asks for the look, and neither waits nor looks.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::tracer_pool::locked;
use crate::config::{PoolSettings, WhenFull};
use crate::export::{Begun, Episode, HEALTH, LineBudget};
use crate::registry::status::PoolStatus;
use crate::selector::Selector;

/// How long a look-up waits for room at the most; reached only where the engine's threads have no time, or are gone.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Of so many tracers one is taken out in advance, so that not each new one waits for a look through all of them.
const IN_ADVANCE: usize = 16;

/// The places of one pool.
pub(super) struct Room {
    max: usize,
    pub(super) when_full: WhenFull,
    tracers: AtomicUsize,
    rejected: AtomicU64,
    grown: AtomicU64,
    warned: AtomicBool,
    full: Mutex<Episode>,
    lines: Arc<LineBudget>,
    /// A line said that look-ups are refused.
    is_told_full: AtomicBool,
    looks: Mutex<Looks>,
    looked: Condvar,
    bell: Arc<Notify>,
}

#[derive(Default)]
struct Looks {
    begun: u64,
    ended: u64,
    /// The last one was to take tracers out, and none was idle.
    in_vain: bool,
    /// Look-ups that wait for one.
    waiting: usize,
    /// A look-up went above the bound, and waits for none.
    is_above: bool,
}

impl Room {
    pub(super) fn new(settings: &PoolSettings, bell: Arc<Notify>, lines: Arc<LineBudget>) -> Self {
        Self {
            max: settings.max_tracers,
            when_full: settings.when_full,
            tracers: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            grown: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            full: Mutex::default(),
            lines,
            is_told_full: AtomicBool::new(false),
            looks: Mutex::default(),
            looked: Condvar::new(),
            bell,
        }
    }

    /// Takes a place; false where there is none. Relaxed, here and below: the number alone matters, nothing hangs on it.
    pub(super) fn take(&self) -> bool {
        let more = |tracers: usize| (tracers < self.max).then_some(tracers + 1);
        self.tracers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Takes a place above the bound.
    pub(super) fn take_above(&self) {
        self.tracers.fetch_add(1, Ordering::Relaxed);
        self.grown.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self) {
        self.tracers.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn tracers(&self) -> usize {
        self.tracers.load(Ordering::Relaxed)
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Waits until there may be room; false where nothing was idle. `since` is when the look-up came here first.
    pub(super) fn wait(&self, since: Instant) -> bool {
        let mut looks = self.lock();
        // Not the one that is under way: it may have passed what has become idle since.
        let wanted = looks.begun + 1;
        looks.waiting += 1;
        self.bell.notify_one();
        loop {
            let left = LONGEST_WAIT.saturating_sub(since.elapsed());
            if looks.ended >= wanted || left.is_zero() {
                looks.waiting -= 1;
                return self.may_have_room(&looks) && !left.is_zero();
            }
            looks = self
                .looked
                .wait_timeout(looks, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Has the look-up itself `look` through the pool; false where that made no room.
    pub(super) fn look(&self, since: Instant, look: impl FnOnce() -> usize) -> bool {
        if since.elapsed() >= LONGEST_WAIT {
            // Others took what it made, again and again.
            return false;
        }
        self.lock().waiting += 1;
        let freed = look();
        let mut looks = self.lock();
        looks.waiting -= 1;
        // Others that look at the same time may have made it, or have taken it.
        freed > 0 || self.may_have_room(&looks)
    }

    /// Whether it is worth while to try again. Where there was room the last look took nothing out, whoever has taken that room since.
    fn may_have_room(&self, looks: &Looks) -> bool {
        !looks.in_vain || self.tracers() < self.max
    }

    /// Whether a look-up asked for a look through the pool.
    pub(super) fn is_asked(&self) -> bool {
        let looks = self.lock();
        looks.waiting > 0 || looks.is_above
    }

    /// The pool is about to be looked through. Gives how many tracers are too many.
    pub(super) fn begin_look(&self) -> usize {
        let mut looks = self.lock();
        looks.begun += 1;
        let above = usize::from(std::mem::take(&mut looks.is_above));
        let wanted = match looks.waiting + above {
            0 => 0,
            waiting => waiting.max(1 + self.max / IN_ADVANCE),
        };
        drop(looks);
        (self.tracers() + wanted).saturating_sub(self.max)
    }

    /// The pool was looked through, and so many tracers were taken out of those that were too many.
    pub(super) fn end_look(&self, too_many: usize, freed: usize) {
        let mut looks = self.lock();
        looks.ended = looks.begun;
        looks.in_vain = too_many > 0 && freed == 0;
        drop(looks);
        self.looked.notify_all();
    }

    /// Counts a look-up that got no tracer, and reports it if it is the first, with a pause between two lines.
    pub(super) fn note_rejected(&self, selector: &Selector) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let begun = {
            let (mut full, now) = (locked(&self.full), Instant::now());
            full.note(1, now);
            let begun = full.begin(now, &self.lines);
            self.is_told_full.fetch_or(begun.is_some(), Ordering::Relaxed);
            begun
        };
        if let Some(Begun { count, left_out }) = begun {
            tracing::warn!(
                target: HEALTH, %selector, max_tracers = self.max, count, left_out,
                "the pool is full and no tracer in it is idle: look-ups of further names are refused"
            );
        }
    }

    /// A look-up found a place.
    pub(super) fn note_admitted(&self) {
        // Looked at first: look-ups that find a place have no lock to wait for.
        if !self.is_told_full.load(Ordering::Relaxed) || !self.is_told_full.swap(false, Ordering::Relaxed) {
            return;
        }
        let over = locked(&self.full).end();
        if let Some(count) = over {
            tracing::info!(target: HEALTH, max_tracers = self.max, count, "the pool has room again: look-ups of further names succeed");
        }
    }

    /// A look-up took a place above the bound: has the pool looked through by and by, and tells of the first one.
    pub(super) fn note_above(&self) {
        self.lock().is_above = true;
        self.bell.notify_one();
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_tracers = self.max,
                "a tracer was made above pool.max_tracers, because pool.when_full is \"grow\"; further ones are counted, and not told"
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

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::config::IdleTimeout;

    #[test]
    fn a_look_up_that_asks_during_a_look_gets_the_room_that_one_made() {
        let settings = PoolSettings {
            max_tracers: 16,
            idle_timeout: IdleTimeout::Never,
            when_full: WhenFull::Reject,
        };
        for taken_by_others in [0, 2] {
            let room = &Room::new(&settings, Arc::default(), Arc::default());
            while room.take() {}
            room.begin_look();
            thread::scope(|threads| {
                // With a beginning that is not over, so that it does not matter how long this takes.
                let since = Instant::now() + Duration::from_secs(3600);
                let second = threads.spawn(move || room.wait(since));
                while !room.is_asked() {
                    thread::yield_now();
                }
                room.give_back();
                room.give_back();
                room.end_look(2, 2);
                let too_many = room.begin_look();
                assert_eq!(too_many, 0, "there is room for as many as it makes in advance");
                for _ in 0..taken_by_others {
                    assert!(room.take());
                }
                room.end_look(too_many, 0);
                assert!(second.join().expect("no panic"), "it is to try, and to ask again");
            });
            room.begin_look();
            room.end_look(1, 0);
            let is_full = room.tracers() == 16;
            assert_eq!(room.may_have_room(&room.lock()), !is_full);
        }
    }
}
