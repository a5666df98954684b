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

/// Reserved bytes of a request. Dropping this releases them.
#[derive(Debug)]
pub(crate) struct Reserved {
    budget: Budget,
    bytes: usize,
    /// Bytes of all requests of the same caller.
    of_caller: Arc<AtomicUsize>,
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

    /// Returns an empty reservation of a caller, with the bytes of all its requests.
    pub(crate) fn reservation(&self, of_caller: &Arc<AtomicUsize>) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
            of_caller: Arc::clone(of_caller),
        }
    }
}

impl Reserved {
    /// Reserves further bytes. Returns false without a change if fewer are free.
    ///
    /// A caller with several requests may have as much as is free, so that others have room: one
    /// caller gets half of the budget, and of `n` callers each gets at least a part of `n + 1`. A
    /// single request may have all of it.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let State { used, limit } = &*self.budget.0;
        let limit = limit.load(Ordering::Relaxed);
        let of_caller = self.of_caller.fetch_add(bytes, Ordering::Relaxed);
        let is_only_request = of_caller == self.bytes;
        let fits = |used: usize| {
            let free = limit.checked_sub(used)?;
            let may_have = is_only_request || of_caller.saturating_add(bytes) <= free;
            (bytes <= free && may_have).then(|| used + bytes)
        };
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        } else {
            self.of_caller.fetch_sub(bytes, Ordering::Relaxed);
        }
        grown
    }

    /// Releases some of the reserved bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.of_caller.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stay_within_the_budget_and_end_with_their_owner() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.reservation(&Arc::default()), budget.reservation(&Arc::default()));
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
        let mut one = budget.reservation(&Arc::default());
        assert!(one.grow(8));
        budget.set_limit(8);
        assert!(!budget.reservation(&Arc::default()).grow(1));
        drop(one);
        assert!(budget.reservation(&Arc::default()).grow(8));
    }

    #[test]
    fn requests_of_one_caller_leave_room_for_others() {
        let budget = Budget::new(90);
        let callers = [Arc::default(), Arc::default()];
        let reserve_all = |caller| {
            let mut reserved = Vec::new();
            loop {
                let mut next = budget.reservation(caller);
                if !next.grow(1) {
                    return reserved;
                }
                reserved.push(next);
            }
        };
        let first = reserve_all(&callers[0]);
        assert_eq!((first.len(), budget.used()), (45, 45));
        let second = reserve_all(&callers[1]);
        assert_eq!((second.len(), budget.used()), (23, 68));
        drop((first, second));
        assert_eq!((budget.used(), callers[0].load(Ordering::Relaxed)), (0, 0));
        // A single request needs no room for others.
        let mut single = budget.reservation(&callers[0]);
        assert!(single.grow(50) && single.grow(40));
    }
}
