//! What became of a request in the end.

use crate::ledger::DropReason;

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered {
        rejected: u64,
    },
    /// Not taken as it is; parts of it may be.
    Refused(DropReason),
    Dropped(DropReason),
    /// The receiver failed on it, and it is not repeated as it is for now.
    Faulted,
}

impl Outcome {
    /// Whether it was given up because its time was over.
    pub(crate) fn is_expired(self) -> bool {
        matches!(
            self,
            Self::Dropped(DropReason::RetriesExhausted | DropReason::Unauthorized)
        )
    }

    /// Whether spans were taken of a request that had so many.
    pub(crate) fn has_delivered(self, count: usize) -> bool {
        matches!(self, Self::Delivered { rejected } if rejected < count as u64)
    }
}
