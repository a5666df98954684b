//! What the load threads count by themselves, beside the ledgers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was made of one tenant. A ledger lies between what was begun and what is done at any moment.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) spans: Counts,
    pub(crate) events: Counts,
}

/// Counted before something is made, and after.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Counts {
    /// Makes so many.
    pub(crate) fn make<T>(&self, count: u64, work: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(count, Ordering::SeqCst);
        let made = work();
        self.done.fetch_add(count, Ordering::SeqCst);
        made
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}
