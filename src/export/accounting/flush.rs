//! How flushes are waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counted_lane::{CountedLane, FlushMark, Pending};
use super::selector_ledger::SelectorFlush;
use crate::export::engine::Engine;
use crate::export::shared::Shared;

/// The moment when a timeout is over. One that the clock cannot add, such as `Duration::MAX`, is over in a year.
pub(crate) fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

impl Engine {
    /// Waits until all of the flushes is complete, or until the deadline.
    pub(crate) fn await_flushes(&self, flushes: &[SelectorFlush], deadline: Instant) {
        let lanes = flushes.iter().flat_map(|flush| &flush.lanes);
        self.shared.await_flushes(lanes, deadline);
    }
}

impl Shared {
    /// Waits until all that the lanes had accepted before their marks has its outcome, or until the deadline.
    pub(crate) fn await_flushes<'a>(
        &self,
        lanes: impl Iterator<Item = &'a (Arc<dyn CountedLane>, FlushMark)> + Send,
        deadline: Instant,
    ) {
        let Some(inline) = self.driver.as_inline() else {
            for (lane, mark) in lanes {
                lane.await_flush(mark, deadline);
            }
            return;
        };
        // What is complete stays so: each lane is looked at until it is, and not again.
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
