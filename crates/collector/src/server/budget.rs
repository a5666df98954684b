//! How many bytes the collector holds at once for requests and answers on their way, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on bytes. What is over it is refused, never waited for: two requests that are half read
/// could wait for each other.
#[derive(Clone)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    total: usize,
}

/// Bytes that are held. They are free again when this is dropped.
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

    /// `None` if fewer bytes are free.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let mut held = Held {
            budget: self.clone(),
            bytes: 0,
        };
        held.grow(bytes).then_some(held)
    }

    /// As [`hold`](Self::hold); what is larger than the whole budget holds all of it, so it passes when it is alone.
    pub(crate) fn hold_at_most_all(&self, bytes: usize) -> Option<Held> {
        self.hold(bytes.min(self.total))
    }
}

impl Held {
    /// Holds more. False, and nothing changes, if fewer bytes are free.
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

    /// Holds nothing any more.
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
    fn no_more_than_all_is_held_and_what_is_dropped_is_free_again() {
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
