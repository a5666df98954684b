//! The memory budget of all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget of bytes. A reservation beyond it fails at once and never waits: two requests that are
/// half read could wait for each other.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    used: AtomicUsize,
    limit: AtomicUsize,
}

/// Reserved bytes. Dropping this releases them.
#[derive(Debug)]
pub(crate) struct Reserved {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(State {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }))
    }

    /// Changes the limit. Bytes that are reserved stay reserved.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Returns an empty reservation.
    pub(crate) fn reservation(&self) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Reserved {
    /// Reserves further bytes. Returns false without a change if fewer are free.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let State { used, limit } = &*self.budget.0;
        let limit = limit.load(Ordering::Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stay_within_the_budget_and_end_with_their_owner() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.reservation(), budget.reservation());
        assert!(one.grow(4));
        assert!(!two.grow(7) && two.grow(6));
        assert!(!one.grow(1));
        assert_eq!(budget.used(), 10);
        drop(two);
        assert_eq!(budget.used(), 4);
        assert!(one.grow(6));
    }

    #[test]
    fn a_lower_limit_holds_for_new_reservations() {
        let budget = Budget::new(10);
        let mut one = budget.reservation();
        assert!(one.grow(8));
        budget.set_limit(8);
        assert!(!budget.reservation().grow(1));
        drop(one);
        assert!(budget.reservation().grow(8));
    }
}
