//! Which session events of a lane are on disk.

use std::collections::BTreeSet;

/// Session events of a lane with a spool.
#[derive(Default)]
pub(crate) struct SavedEvents {
    /// Order numbers of events without a row, also of those that are being saved.
    pub(crate) unsaved: BTreeSet<u64>,
    /// Events that are being saved.
    pub(crate) saving: u64,
    /// Queued and in-flight events with a row.
    pub(crate) rows: u64,
}
