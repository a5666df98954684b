//! What a queue has in the local store.

use std::time::Instant;

/// Rows of a queue are in the local store.
#[derive(Default)]
pub(super) struct Backlog {
    /// Appends without an answer of the local store.
    pub(super) appending: usize,
    /// Rows were appended since the last take.
    pub(super) has_new: bool,
    /// The rows that are on their way are the last ones. New rows of the queue wait for them.
    pub(super) is_last: bool,
    pub(super) is_filling: bool,
    pub(super) retry_at: Option<Instant>,
}

impl Backlog {
    /// Whether a back-fill that failed may begin again.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }
}
