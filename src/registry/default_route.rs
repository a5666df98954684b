//! Look-ups of the default tracer while it is not in the pool: one at a time, on a separate thread,
//! with pauses after failures.

use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use tracing::dispatcher::{self, Dispatch};

use crate::util::fork::{ForkLock, wait_timeout};

/// How long a span waits for the look-up.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failed look-up: ten times its duration, within these limits.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Minimum interval between logged failures.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) struct DefaultRoute {
    began: Instant,
    /// End of the pause, in milliseconds since `began`.
    paused_until: AtomicU64,
    /// End of the log's quiet period, in milliseconds since `began`.
    quiet_until: AtomicU64,
    /// Start of the current look-up.
    in_progress: ForkLock<Option<Instant>>,
    ended: Condvar,
}

impl Default for DefaultRoute {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            paused_until: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            in_progress: ForkLock::default(),
            ended: Condvar::new(),
        }
    }
}

impl DefaultRoute {
    /// Waits for the current look-up, or starts one by running `look_up` on a thread. Returns
    /// whether it ended in time; returns false without waiting during a pause. `look_up` must call
    /// [`end`](Self::end).
    ///
    /// # Errors
    /// The operating system's error if no thread can be started.
    pub(crate) fn wait(&self, look_up: impl FnOnce() + Send + 'static) -> io::Result<bool> {
        if self.is_paused() {
            return Ok(false);
        }
        let mut in_progress = self.in_progress.lock();
        let start = match *in_progress {
            Some(start) => start,
            None if self.is_paused() => return Ok(false),
            None => {
                let start = Instant::now();
                let dispatch = dispatcher::get_default(Dispatch::clone);
                let thread = thread::Builder::new().name("tracer-registry-default".to_owned());
                let started = thread.spawn(move || dispatcher::with_default(&dispatch, look_up));
                started.inspect_err(|_| self.pause(MIN_PAUSE))?;
                *in_progress = Some(start);
                start
            }
        };
        while *in_progress == Some(start) {
            let Some(left) = MAX_WAIT.checked_sub(start.elapsed()) else {
                return Ok(false);
            };
            in_progress = wait_timeout(&self.ended, in_progress, left).0;
        }
        Ok(true)
    }

    /// Marks the current look-up as ended.
    pub(crate) fn end(&self) {
        *self.in_progress.lock() = None;
        self.ended.notify_all();
    }

    /// Pauses look-ups after one that failed. `took` is its duration.
    pub(crate) fn pause_after(&self, took: Duration) {
        self.pause((took * 10).clamp(MIN_PAUSE, MAX_PAUSE));
    }

    /// Whether to log a failure now.
    pub(crate) fn may_log(&self) -> bool {
        let (now, until) = (self.millis(), self.quiet_until.load(Ordering::Relaxed));
        let next = now + millis(LOG_INTERVAL);
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
