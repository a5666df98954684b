//! Limit on the bytes of all requests and responses in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit on bytes. A request above it is refused and never waits, because two half-read requests
/// could wait for each other.
#[derive(Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    total: usize,
}

/// Reserved bytes. Dropping this releases them.
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            used: Arc::default(),
            total,
        }
    }

    /// Reserves bytes. `None` if fewer are free.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let mut held = Held {
            budget: self.clone(),
            bytes: 0,
        };
        held.grow(bytes).then_some(held)
    }

    /// Like [`hold`](Self::hold), but reserves at most the whole budget, so a larger response is
    /// sent if nothing else is in progress.
    pub(crate) fn hold_at_most_all(&self, bytes: usize) -> Option<Held> {
        self.hold(bytes.min(self.total))
    }
}

impl Held {
    /// Reserves further bytes. Returns false without a change if fewer are free.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.budget.total);
        let grown = self
            .budget
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Releases all bytes.
    pub(crate) fn release(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::SeqCst);
        self.bytes = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stay_within_the_budget_and_are_released_on_drop() {
        let budget = Budget::new(10);
        let mut one = budget.hold(4).unwrap();
        assert!(budget.hold(7).is_none());
        assert!(!one.grow(7) && one.grow(6));
        assert!(budget.hold(1).is_none());
        one.release();
        let two = budget.hold(10).unwrap();
        assert!(budget.hold_at_most_all(100).is_none());
        drop((one, two));
        assert!(budget.hold(11).is_none() && budget.hold_at_most_all(11).is_some());
    }
}
