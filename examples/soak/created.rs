//! Counts of the load threads, independent of the ledgers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one tenant. At any moment its ledger lies between begun and done.
#[derive(Debug, Default)]
pub(crate) struct Created {
    pub(crate) spans: Counts,
    pub(crate) events: Counts,
}

/// Incremented before and after each item is created.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Counts {
    /// Runs `work`, which creates `count` items.
    pub(crate) fn create<T>(&self, count: u64, work: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(count, Ordering::SeqCst);
        let created = work();
        self.done.fetch_add(count, Ordering::SeqCst);
        created
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}
