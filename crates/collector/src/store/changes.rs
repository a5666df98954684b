//! Something changed: what callers wait for instead of sleeping.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// A count of changes that can be waited for.
#[derive(Default)]
pub(crate) struct Changes {
    count: Mutex<u64>,
    grew: Condvar,
}

impl Changes {
    /// Says that something changed. Called after the change is visible and with no other lock held.
    pub(crate) fn notify(&self) {
        *lock(&self.count) += 1;
        self.grew.notify_all();
    }

    /// Asks `holds` now and after every change, until it says yes or the time is over. No lock is
    /// held while it is asked.
    pub(crate) fn wait_until(&self, timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            // Read before asking: a change during the question makes the wait below return at once.
            let seen = *lock(&self.count);
            if holds() {
                return true;
            }
            let count = lock(&self.count);
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            // The returned guard is dropped at once: it must not be held while `holds` is asked again.
            drop(self.grew.wait_timeout_while(count, left, |count| *count == seen));
        }
    }
}
