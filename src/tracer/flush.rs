//! The flush of one tracer.

use std::time::Duration;

use super::TracerHandle;
use crate::export::TracerReport;

impl TracerHandle {
    /// Sends what this tracer has accepted so far, spans and session events, and waits for it, up to `timeout`. Other tracers neither wait nor
    /// are sent; what they have queued stays queued.
    ///
    /// The report is of this tracer alone, also where its selector has others (dedicated ones beside a pooled one): what became of its spans
    /// since the last report that told of them. What it tells, the next report of the registry does not tell again.
    ///
    /// Blocks the thread, as [`TracerRegistry::force_flush`](crate::TracerRegistry::force_flush) does, and says there what async code does
    /// instead. After the registry is gone there is nothing to send and nothing to tell.
    pub fn force_flush(&self, timeout: Duration) -> TracerReport {
        self.lane().flush(timeout)
    }
}
