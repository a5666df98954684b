//! Turns of a caller: its large messages are inflated and checked one after another, so that many
//! of them delay other callers as little as one does.

use tokio::sync::{Mutex, MutexGuard};

/// A request's turn among the large messages of its caller. Dropping it ends the turn.
pub(super) struct Turn<'c> {
    queue: &'c Mutex<()>,
    taken: Option<MutexGuard<'c, ()>>,
}

impl<'c> Turn<'c> {
    pub(super) fn new(queue: &'c Mutex<()>) -> Self {
        Self { queue, taken: None }
    }

    /// Waits for the turn, unless the request has it.
    pub(super) async fn take(&mut self) {
        if self.taken.is_none() {
            self.taken = Some(self.queue.lock().await);
        }
    }
}
