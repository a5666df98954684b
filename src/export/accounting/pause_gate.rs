//! Pause of a selector: while its gate is closed, requests of its lanes wait.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Gate of a selector. Open by default.
#[derive(Debug, Default)]
pub(crate) struct PauseGate {
    closed: AtomicBool,
    opened: Notify,
}

impl PauseGate {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns whether it was open.
    pub(super) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::SeqCst)
    }

    /// Opens it and wakes all that wait. Returns whether it was closed.
    pub(super) fn open(&self) -> bool {
        let was_closed = self.closed.swap(false, Ordering::SeqCst);
        self.opened.notify_waiters();
        was_closed
    }

    /// Waits until it is open, or until [`open`](Self::open) is called while `is_over` returns true.
    /// Cancel safe.
    pub(crate) async fn pass(&self, is_over: impl Fn() -> bool) {
        loop {
            // Registered before the check, so no opening is missed.
            let opened = self.opened.notified();
            if !self.is_closed() || is_over() {
                return;
            }
            opened.await;
        }
    }
}
