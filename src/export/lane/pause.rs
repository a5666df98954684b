//! Pause of a lane: its requests wait, and its data does not expire.
//!
//! | event | effect |
//! |---|---|
//! | pause | requests wait before they are admitted; flushes do not wait; `export.retry.max_elapsed` stops |
//! | resume | all waiting data has the full `max_elapsed` again; requests continue, also those that wait to retry |
//! | shutdown | resumes all lanes, and no pause applies from then on |

use super::lane::Lane;
use crate::export::accounting::lane_status::RequestKind;

impl Lane {
    /// Returns whether requests must wait.
    pub(crate) fn is_paused(&self) -> bool {
        !self.shared.is_closing() && self.keeps_data()
    }

    /// Returns whether waiting data does not expire. In contrast to [`is_paused`](Self::is_paused),
    /// this ends at a shutdown only when the lane was resumed, and so has its full retry time.
    pub(crate) fn keeps_data(&self) -> bool {
        self.selector_ledger().is_some_and(|ledger| ledger.gate.is_closed())
    }

    /// Waits until requests need not wait.
    pub(crate) async fn resumed(&self) {
        if let Some(ledger) = self.selector_ledger() {
            ledger.gate.pass(|| self.shared.is_closing()).await;
        }
    }

    /// Ends waiting flushes. Call after the gate was closed.
    pub(super) fn end_flushes(&self) {
        // A flush that checked the gate before holds the lock until it waits.
        drop(self.state.lock());
        self.notify_completed();
    }

    /// Starts the retry time of all waiting data anew, and ends waits before retries. Call before
    /// the gate is opened, because data that waits may have waited for hours.
    pub(super) fn renew_retry_time(&self) {
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        state.end_outage(RequestKind::Spans);
        state.end_outage(RequestKind::SessionEvents);
        if let Some(rare) = &mut state.rare {
            rare.resumed = Some(now);
        }
        state.wake_retries();
    }
}
