//! Counters of started spans.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts started spans: recorded, and sampled out.
#[derive(Debug, Default)]
pub(crate) struct SpanCounters {
    recorded: AtomicU64,
    left_out: AtomicU64,
}

impl SpanCounters {
    pub(crate) fn count(&self, recorded: bool) {
        let counter = if recorded { &self.recorded } else { &self.left_out };
        // Relaxed: a reader of the ledger locks the lane after the span's end, so it sees the
        // start.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts encoded spans.
    #[cfg(feature = "gateway")]
    pub(crate) fn add(&self, recorded: u64, left_out: u64) {
        self.recorded.fetch_add(recorded, Ordering::Relaxed);
        self.left_out.fetch_add(left_out, Ordering::Relaxed);
    }

    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
