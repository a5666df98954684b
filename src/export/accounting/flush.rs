//! How a flush is waited for, and that of one tracer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::TracerReport;
use super::selector_ledger::SelectorFlush;
use crate::export::engine::{Engine, Shared};
use crate::export::lane::{FlushMark, Lane, Pending};

/// The moment when a timeout is over. One that the clock cannot add, such as `Duration::MAX`, is over in a year.
pub(crate) fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

impl Engine {
    /// Waits until all of the flushes is settled, or until the deadline.
    pub(crate) fn settle(&self, flushes: &[SelectorFlush], deadline: Instant) {
        let lanes = flushes.iter().flat_map(|flush| &flush.lanes);
        self.shared.settle(lanes, deadline);
    }
}

impl Shared {
    fn settle<'a>(&self, lanes: impl Iterator<Item = &'a (Arc<Lane>, FlushMark)> + Send, deadline: Instant) {
        let Some(inline) = self.driver.inlined() else {
            for (lane, mark) in lanes {
                lane.await_flush(mark, deadline);
            }
            return;
        };
        // What is settled stays so: each lane is looked at until it is, and not again.
        let mut lanes = lanes.peekable();
        inline.drive(deadline, move || {
            while let Some((lane, mark)) = lanes.peek() {
                if lane.pending(mark) != Pending::default() {
                    return false;
                }
                lanes.next();
            }
            true
        });
    }
}

impl Lane {
    /// Sends what this lane holds, and no other one, and waits for it.
    pub(crate) fn flush(self: &Arc<Self>, timeout: Duration) -> TracerReport {
        let shared = self.shared();
        if shared.is_forked() {
            return TracerReport::forked(self.selector.clone());
        }
        let account = self.account();
        let before = account.as_ref().map(|account| account.reported_of(self));
        let flush = [(Arc::clone(self), self.begin_flush())];
        shared.settle(flush.iter(), after(timeout));
        let [(_, mark)] = &flush;
        match account.zip(before) {
            Some((account, before)) => account.report_lane(self, mark, &before),
            // The registry is gone, and said what it left.
            None => TracerReport::nothing(self.selector.clone()),
        }
    }
}
