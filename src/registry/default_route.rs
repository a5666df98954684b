//! The look-up of the default tracer while it is not in the pool: one at a time, on a thread of its own, with pauses after failures.

use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use tracing::dispatcher::{self, Dispatch};

use crate::util::fork::{ForkLock, wait_timeout};

/// How long a span waits for the look-up that it needs.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long no look-up is made after one that failed: ten times what that took, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a failure is logged at the most.
const LOG_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct DefaultRoute {
    began: Instant,
    /// Until when no look-up is made, in milliseconds since `began`.
    paused_until: AtomicU64,
    /// Until when no failure is logged, likewise.
    quiet_until: AtomicU64,
    /// When the look-up that is under way began.
    under_way: ForkLock<Option<Instant>>,
    answered: Condvar,
}

impl Default for DefaultRoute {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            paused_until: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            under_way: ForkLock::default(),
            answered: Condvar::new(),
        }
    }
}

impl DefaultRoute {
    /// Waits for the look-up that is under way, or starts one by running `look_up` on a thread. Returns whether it ended in time, and false
    /// without waiting during a pause. `look_up` must call [`end`](Self::end).
    ///
    /// # Errors
    /// The operating system's, if there can be no thread.
    pub(crate) fn wait(&self, look_up: impl FnOnce() + Send + 'static) -> io::Result<bool> {
        if self.is_paused() {
            return Ok(false);
        }
        let mut under_way = self.under_way.lock();
        let start = match *under_way {
            Some(start) => start,
            None if self.is_paused() => return Ok(false),
            None => {
                let start = Instant::now();
                let dispatch = dispatcher::get_default(Dispatch::clone);
                let thread = thread::Builder::new().name("tracer-registry-default".to_owned());
                let started = thread.spawn(move || dispatcher::with_default(&dispatch, look_up));
                started.inspect_err(|_| self.pause(SHORTEST_PAUSE))?;
                *under_way = Some(start);
                start
            }
        };
        while *under_way == Some(start) {
            let Some(left) = LONGEST_WAIT.checked_sub(start.elapsed()) else {
                return Ok(false);
            };
            under_way = wait_timeout(&self.answered, under_way, left).0;
        }
        Ok(true)
    }

    /// The look-up is over.
    pub(crate) fn end(&self) {
        *self.under_way.lock() = None;
        self.answered.notify_all();
    }

    /// A look-up failed after so much time: makes none for a while.
    pub(crate) fn pause_after(&self, took: Duration) {
        self.pause((took * 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    }

    /// Whether a failure is to be logged now.
    pub(crate) fn may_log(&self) -> bool {
        let (now, until) = (self.millis(), self.quiet_until.load(Ordering::Relaxed));
        let next = now + millis(LOG_EVERY);
        now >= until
            && self
                .quiet_until
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn pause(&self, pause: Duration) {
        self.paused_until
            .store(self.millis() + millis(pause), Ordering::Relaxed);
    }

    fn is_paused(&self) -> bool {
        self.millis() < self.paused_until.load(Ordering::Relaxed)
    }

    fn millis(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
