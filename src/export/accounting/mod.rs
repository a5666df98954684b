//! Accounting of accepted data: by lane, by selector, and for evicted selectors in total.

pub(super) mod accounting;
pub(super) mod counted_lane;
pub(super) mod eviction;
pub(super) mod flush;
pub(super) mod key_status;
pub(super) mod lane_status;
#[cfg(feature = "spool")]
pub(super) mod loading;
pub(super) mod pause_gate;
pub(super) mod refused;
pub(super) mod report;
pub(super) mod selector_ledger;
