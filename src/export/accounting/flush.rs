//! Waiting for flushes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counted_lane::{CountedLane, FlushMark, Pending};
use super::selector_ledger::SelectorFlush;
use crate::export::engine::Engine;
use crate::export::shared::Shared;

/// Returns the deadline of a timeout. A timeout beyond the clock's range, such as `Duration::MAX`,
/// ends in a year.
pub(crate) fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

impl Engine {
    /// Waits until all flushes complete, or until the deadline. Does not wait for paused lanes.
    pub(crate) fn await_flushes(&self, flushes: &[SelectorFlush], deadline: Instant) {
        let lanes = flushes.iter().flat_map(|flush| &flush.lanes);
        self.shared.await_flushes(lanes, deadline);
    }
}

impl Shared {
    /// Waits until everything that the lanes accepted before their marks has an outcome, or until
    /// the deadline.
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
        // A completed lane stays complete, so check each lane only until then. A paused one is not
        // waited for, even if it is resumed meanwhile.
        let mut lanes = lanes.peekable();
        inline.drive(deadline, move || {
            while let Some((lane, mark)) = lanes.peek() {
                if lane.pending(mark) != Pending::default() && !lane.is_paused() {
                    return false;
                }
                lanes.next();
            }
            true
        });
    }
}
