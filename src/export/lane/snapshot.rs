//! What a lane says of itself at one moment.

use std::time::SystemTime;

use super::Lane;
use super::errors::Failures;
use crate::export::accounting::key_status::KeyStatus;
use crate::export::accounting::lane_status::{DestinationStatus, RefusedSpan, RequestStatus};
use crate::export::schedule::breaker::Breakers;
use crate::export::schedule::permits::Load;
use crate::ledger::Ledger;

/// What a lane says of itself.
pub(crate) struct LaneSnapshot {
    pub(crate) spans: Ledger,
    /// What the spans and session events take that are queued and under way, estimated.
    pub(crate) held_bytes: usize,
    /// When the span ended that waits in the queue for the longest.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) events: Ledger,
    pub(crate) failures: Option<Failures>,
    pub(crate) refused_span: Option<RefusedSpan>,
    pub(crate) last_delivery: Option<SystemTime>,
    pub(crate) breakers: Breakers,
    pub(crate) key: KeyStatus,
    pub(crate) destination: DestinationStatus,
    pub(crate) oldest_request: Option<RequestStatus>,
}

impl Lane {
    pub(crate) fn snapshot(&self) -> LaneSnapshot {
        // First, and not in the lane's lock, which ends of spans wait for.
        let mut key = self.key.status(&self.shared.keys);
        let breakers = self.gates.status();
        let state = self.state.lock();
        self.judge_key(&mut key, state.refusals());
        LaneSnapshot {
            spans: state.ledger,
            held_bytes: state.share.held(),
            oldest: state.spans.first().map(|span| span.end_time),
            events: state.events_ledger(),
            failures: state.failures().cloned(),
            refused_span: state.refused_span().cloned(),
            last_delivery: state.last_delivery,
            breakers,
            key,
            destination: self.destination_status(),
            oldest_request: state.oldest_request(|load| match load {
                Load::Spans => [breakers.spans, breakers.endpoint],
                Load::SessionEvent => [breakers.session_events, breakers.endpoint],
            }),
        }
    }

    fn destination_status(&self) -> DestinationStatus {
        let settings = &self.shared.settings;
        DestinationStatus {
            endpoint: self.destination.traces_url.clone(),
            backend: self.destination.backend,
            protocol: settings.protocol,
            compression: settings.compression,
        }
    }
}
