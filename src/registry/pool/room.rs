//! How many tracers there are and may be, and what a look-up does where there is no room.
//!
//! A look-up takes no tracer out itself. It asks for a look through the pool, which is done on the engine's threads, and waits for one that
//! begins after it asked: so it is refused only where nothing was idle. Where these threads are not there (`export.mode = "inline"`) it looks
//! itself.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::super::status::PoolStatus;
use crate::config::{PoolSettings, WhenFull};

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
    looks: Mutex<Looks>,
    looked: Condvar,
    bell: Arc<Notify>,
}

#[derive(Default)]
struct Looks {
    begun: u64,
    ended: u64,
    /// How many tracers the last one took out.
    freed: usize,
    /// Look-ups that wait for one.
    waiting: usize,
}

impl Room {
    pub(super) fn new(settings: &PoolSettings, bell: Arc<Notify>) -> Self {
        Self {
            max: settings.max_tracers,
            when_full: settings.when_full,
            tracers: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            grown: AtomicU64::new(0),
            warned: AtomicBool::new(false),
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

    /// Takes a place above the bound, where there is none below it. Gives whether it is above.
    pub(super) fn take_above(&self) -> bool {
        let above = self.tracers.fetch_add(1, Ordering::Relaxed) >= self.max;
        if above {
            self.grown.fetch_add(1, Ordering::Relaxed);
        }
        above
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
                return looks.freed > 0 && !left.is_zero();
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
        self.lock().waiting -= 1;
        // Others that look at the same time may have made it, or have taken it.
        freed > 0 || self.tracers() < self.max
    }

    /// Whether a look-up waits for a look through the pool.
    pub(super) fn is_asked(&self) -> bool {
        self.lock().waiting > 0
    }

    /// The pool is about to be looked through. Gives how many tracers are too many.
    pub(super) fn begin_look(&self) -> usize {
        let mut looks = self.lock();
        looks.begun += 1;
        let wanted = match looks.waiting {
            0 => 0,
            waiting => waiting.max(1 + self.max / IN_ADVANCE),
        };
        drop(looks);
        (self.tracers() + wanted).saturating_sub(self.max)
    }

    /// The pool was looked through, and so many tracers were taken out.
    pub(super) fn end_look(&self, freed: usize) {
        let mut looks = self.lock();
        looks.ended = looks.begun;
        looks.freed = freed;
        drop(looks);
        self.looked.notify_all();
    }

    pub(super) fn note_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of the first tracer above the bound.
    pub(super) fn warn_once(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                max_tracers = self.max,
                "a tracer was made above pool.max_tracers, because none of those that are there is idle; further ones are \
                 counted, and not told"
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
