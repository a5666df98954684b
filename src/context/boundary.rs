//! What the tracers of one registry share where something could pass between them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Counts what was kept from going between tracers, or out of the process. One for each registry.
#[derive(Debug, Default)]
pub(crate) struct Boundary {
    baggage_dropped: AtomicU64,
    unattached: AtomicU64,
}

/// What was left out of what goes along with requests and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PropagationStatus {
    /// Baggage entries that did not go out with a request: their name or metadata is not valid in a W3C `baggage` header, or the header
    /// was full (64 entries, 8,192 bytes).
    pub baggage_dropped: u64,
}

// Relaxed: counts, no other memory depends on them.
impl Boundary {
    pub(crate) fn note_baggage_dropped(&self, entries: u64) {
        self.baggage_dropped.fetch_add(entries, Ordering::Relaxed);
    }

    /// A scope could not be made current. True for the first one.
    pub(crate) fn note_unattached(&self) -> bool {
        self.unattached.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn unattached(&self) -> u64 {
        self.unattached.load(Ordering::Relaxed)
    }

    pub(crate) fn propagation(&self) -> PropagationStatus {
        PropagationStatus {
            baggage_dropped: self.baggage_dropped.load(Ordering::Relaxed),
        }
    }
}
