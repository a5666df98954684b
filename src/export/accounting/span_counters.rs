//! How many spans of a selector were started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts every start, of spans that are recorded and of those that sampling leaves out.
#[derive(Debug, Default)]
pub(crate) struct SpanCounters {
    recorded: AtomicU64,
    left_out: AtomicU64,
}

impl SpanCounters {
    pub(crate) fn count(&self, recorded: bool) {
        let counter = if recorded { &self.recorded } else { &self.left_out };
        // Relaxed: whoever sees the end of a span has taken the lane's lock after it, and so sees its start.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
