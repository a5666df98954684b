//! Final outcome of a request.

use crate::ledger::DropReason;

/// Final outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered {
        rejected: u64,
    },
    /// Refused as a whole; parts of it may be accepted.
    Refused(DropReason),
    Dropped(DropReason),
    /// The receiver failed on it, and the caller decides how to retry.
    Faulted,
    /// Ended before it had an outcome: the lane is closed, or leaves its data on disk.
    HandedOver,
}

impl Outcome {
    /// Returns whether it was dropped because its retry time was over.
    pub(crate) fn is_expired(self) -> bool {
        matches!(
            self,
            Self::Dropped(DropReason::RetriesExhausted | DropReason::Unauthorized)
        )
    }

    /// Returns whether the receiver accepted any of `count` spans.
    pub(crate) fn has_delivered(self, count: usize) -> bool {
        matches!(self, Self::Delivered { rejected } if rejected < count as u64)
    }
}
