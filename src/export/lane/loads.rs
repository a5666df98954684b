//! When a lane's selector loads rows that are on disk only.

use std::sync::Arc;

use super::lane::Lane;
use crate::export::accounting::counted_lane::CountedLane as _;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::spool::load;

impl Lane {
    /// Loads rows of the selector, if the loader has room.
    pub(super) fn load(&self) {
        if let Some(ledger) = self.selector_ledger() {
            load::wake(&self.shared, &ledger);
        }
    }

    /// Ends the back-off of the selector's rows, and loads them: the receiver accepted something.
    pub(super) fn note_receiver_works(&self, kind: RequestKind) {
        if self.is_spooled()
            && let Some(ledger) = self.selector_ledger()
        {
            ledger.on_disk(|backlog, _| backlog.note_delivered(kind.of_rows()));
            load::wake(&self.shared, &ledger);
        }
    }

    /// Loads rows of the selector without waiting for the end of their back-off.
    pub(super) fn load_now(&self) {
        if self.is_spooled()
            && let Some(ledger) = self.selector_ledger()
        {
            ledger.try_now();
            load::wake(&self.shared, &ledger);
        }
    }

    /// Loads nothing more: the pool has removed the tracer, and the next one may have another key or
    /// receiver. The next one also gets what is loaded and not sent.
    pub(crate) fn leave_pool(self: &Arc<Self>) {
        if self.is_spooled()
            && let Some(ledger) = self.selector_ledger()
        {
            ledger.stop_loading(self.as_ref());
            load::wake(&self.shared, &ledger);
        }
    }
}
