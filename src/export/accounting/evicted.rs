//! The sums of selectors that are no longer remembered by name.

use crate::ledger::Ledgers;

/// The sums of the ledgers that were evicted.
#[derive(Clone, Copy, Default)]
pub(crate) struct EvictedLedgers {
    /// How many ledgers were evicted.
    pub(crate) names: u64,
    pub(crate) ledgers: Ledgers,
    /// Spans that were started and recorded, and those that sampling left out.
    #[cfg(feature = "metrics")]
    pub(crate) starts: [u64; 2],
    /// How far this was reported.
    pub(super) reported: Ledgers,
}
