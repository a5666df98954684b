//! Which tracers need attention, from their summaries.

use std::time::{Duration, SystemTime};

use crate::export::LaneSummary;

/// How long a request may take without a delivery of its tracer.
const STUCK_AFTER: Duration = Duration::from_secs(5 * 60);

/// Returns whether the tracer has a problem now.
pub(super) fn is_failing(summary: &LaneSummary, now: SystemTime) -> bool {
    summary.key_refused
        || summary.key_failing
        || summary.open_breakers > 0
        || summary.is_unreachable
        || accepts_nothing(summary, now)
}

/// Returns whether the receiver has accepted nothing since a request began [`STUCK_AFTER`] ago.
pub(super) fn accepts_nothing(summary: &LaneSummary, now: SystemTime) -> bool {
    summary.oldest_request.is_some_and(|began| {
        let is_old = now.duration_since(began).is_ok_and(|age| age >= STUCK_AFTER);
        is_old && summary.last_delivery.is_none_or(|delivery| delivery < began)
    })
}
