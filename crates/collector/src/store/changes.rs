//! Change notifications, for waiting without polling.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::lock::lock;

/// Counter of changes that callers can wait for.
#[derive(Default)]
pub(crate) struct Changes {
    count: Mutex<u64>,
    grew: Condvar,
    /// For streams of the page.
    streams: watch::Sender<()>,
}

impl Changes {
    /// Reports a change. Call it after the change is visible and without holding other locks.
    pub(crate) fn notify(&self) {
        *lock(&self.count) += 1;
        self.grew.notify_all();
        self.streams.send_replace(());
    }

    /// Returns a receiver of changes from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.streams.subscribe()
    }

    /// Calls `condition` now and after every change, without holding a lock. Returns true as soon
    /// as it does, and false after `timeout`.
    pub(crate) fn wait_until(&self, timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // Read before the call, so that a change during it ends the wait below at once.
            let seen = *lock(&self.count);
            if condition() {
                return true;
            }
            let count = lock(&self.count);
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            // Drop the returned guard: it must not be held during the next call.
            drop(self.grew.wait_timeout_while(count, left, |count| *count == seen));
        }
    }
}
