//! Waiting for flushes.

use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "spool")]
use tracer_registry_spool::Health;

use super::counted_lane::{CountedLane, FlushMark, Pending};
use super::selector_ledger::SelectorFlush;
#[cfg(feature = "spool")]
use super::selector_ledger::SelectorLedger;
use crate::export::engine::Engine;
use crate::export::shared::Shared;

/// Returns the deadline of a timeout. A timeout beyond the clock's range, such as `Duration::MAX`,
/// ends in a year.
pub(crate) fn after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

/// Part of a shutdown's timeout in which data is left on disk, and its bounds.
#[cfg(feature = "spool")]
const HAND_OVER_DIVISOR: u32 = 4;
#[cfg(feature = "spool")]
const HAND_OVER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

#[cfg(feature = "spool")]
impl Engine {
    /// Returns the part of a shutdown's timeout in which data is left on disk.
    pub(crate) fn time_to_hand_over(&self, timeout: Duration) -> Duration {
        let (shortest, longest) = HAND_OVER;
        match self.shared.spool() {
            Some(_) => (timeout / HAND_OVER_DIVISOR).clamp(shortest, longest).min(timeout),
            None => Duration::ZERO,
        }
    }

    /// Leaves what is in memory on disk, and ends its requests. Waits until that is done, or until
    /// the deadline. Does nothing if the disk fails.
    pub(crate) fn hand_over(&self, ledgers: &[Arc<SelectorLedger>], deadline: Instant) {
        let Some(spool) = self.shared.spool().filter(|spool| spool.health() != Health::Failing) else {
            return;
        };
        spool.begin_hand_over();
        self.shared.interrupts.notify_waiters();
        for ledger in ledgers {
            ledger.hand_over();
        }
        let flushes: Vec<_> = ledgers.iter().map(|ledger| ledger.begin_flush()).collect();
        self.await_flushes(&flushes, deadline);
    }
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
