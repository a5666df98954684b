//! Whether anything is left to do for a lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Lane;

impl Lane {
    /// The SDK started a span that is recorded.
    pub(crate) fn note_started(&self) {
        // Relaxed: who asks whether spans are open has seen every handle go that one could have been started with.
        self.open_spans.fetch_add(1, Ordering::Relaxed);
    }

    /// The span ended, and is in the queue or in the ledger by now.
    pub(crate) fn note_ended(&self) {
        // Release, for the load in `is_idle`: who sees the span closed sees it queued.
        self.open_spans.fetch_sub(1, Ordering::Release);
    }

    /// Whether no span is open and nothing of the tracer is unsent. Only where no handle of it is left is the answer still true afterwards.
    pub(crate) fn is_idle(&self) -> bool {
        self.open_spans.load(Ordering::Acquire) == 0 && self.state.lock().is_drained()
    }

    /// Sends what is queued without waiting for more. What waits for its repetition goes on waiting, unlike with a flush.
    pub(crate) fn send_now(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let event = state.make_due();
        self.note_due(&mut state);
        drop(state);
        if let Some(event) = event {
            self.shared.notify(event(self));
        }
    }
}
