//! Events for the registry's drain, which finds tracers for selectors that only the disk knows.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::util::fork::ForkLock;

/// An event for the drain.
pub(crate) enum DrainEvent {
    /// The selector has rows on disk only, and no lane that loads them.
    Waiting(Arc<SelectorLedger>),
    /// No tracer of the selector could be created. The drain tries again at this time.
    Failed(Arc<SelectorLedger>, Instant),
    /// The drain may look for another tracer.
    Free,
    /// The configuration was reloaded: the drain tries all selectors again.
    Reloaded,
}

/// Queue of the drain's events.
pub(crate) struct DrainEvents {
    tx: UnboundedSender<DrainEvent>,
    rx: ForkLock<Option<UnboundedReceiver<DrainEvent>>>,
}

impl DrainEvents {
    pub(crate) fn send(&self, event: DrainEvent) {
        // Fails only after the engine stopped.
        drop(self.tx.send(event));
    }

    /// Returns the receiver, once.
    pub(crate) fn take_receiver(&self) -> Option<UnboundedReceiver<DrainEvent>> {
        self.rx.lock().take()
    }
}

impl Default for DrainEvents {
    fn default() -> Self {
        let (tx, rx) = unbounded_channel();
        Self {
            tx,
            rx: ForkLock::new(Some(rx)),
        }
    }
}
