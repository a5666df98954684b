//! What became of everything that a tracer accepted: by lane, by selector, and of selectors that are no longer remembered by name.

pub(super) mod accounting;
pub(super) mod counted_lane;
pub(super) mod eviction;
pub(super) mod flush;
pub(super) mod key_status;
pub(super) mod lane_status;
pub(super) mod report;
pub(super) mod selector_ledger;
#[cfg(feature = "metrics")]
pub(super) mod span_counters;
