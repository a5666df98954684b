//! What a lane says of itself at one moment.

use std::time::SystemTime;

use super::super::ExportError;
use super::super::breaker::Breakers;
use super::super::key_status::KeyStatus;
use super::Lane;
use crate::ledger::Ledger;

/// What a lane says of itself.
pub(crate) struct LaneSnapshot {
    pub(crate) spans: Ledger,
    /// What the spans and session events take that are queued and under way, estimated.
    pub(crate) held_bytes: usize,
    /// When the span ended that waits in the queue for the longest.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) events: Ledger,
    pub(crate) last_error: Option<ExportError>,
    pub(crate) last_delivery: Option<SystemTime>,
    pub(crate) breakers: Breakers,
    pub(crate) key: KeyStatus,
}

impl Lane {
    pub(in super::super) fn snapshot(&self) -> LaneSnapshot {
        // First, and not in the lane's lock, which ends of spans wait for.
        let mut key = self.keyring.status(&self.shared.keyrings);
        let state = self.lock();
        self.judge_key(&mut key, state.refusals());
        LaneSnapshot {
            spans: state.ledger,
            held_bytes: state.share.held(),
            oldest: state.spans.first().map(|span| span.end_time),
            events: state.events_ledger(),
            last_error: state.last_error().cloned(),
            last_delivery: state.last_delivery,
            breakers: self.gates.status(),
            key,
        }
    }
}
