//! A lane as its selector's ledger sees it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::key_status::KeyStatus;
use super::lane_status::{DestinationStatus, ErrorsStatus, RefusedSpan, RequestStatus};
use crate::export::error::ExportError;
use crate::export::schedule::breaker_status::Breakers;
use crate::ledger::Ledgers;
use crate::util::wall_time;

/// What a selector's ledger needs of a lane.
pub(crate) trait CountedLane: Send + Sync {
    fn snapshot(&self) -> LaneSnapshot;

    /// Makes all that was accepted so far due now, and returns how far to wait.
    fn begin_flush(self: Arc<Self>) -> FlushMark;

    /// Returns what was accepted before the mark and has no outcome yet.
    fn pending(&self, mark: &FlushMark) -> Pending;

    /// Waits until all that was accepted before the mark has its outcome, or until the deadline.
    fn await_flush(&self, mark: &FlushMark, deadline: Instant);

    /// Closes the lane at the end of a shutdown: what has no outcome is dropped and counted.
    fn abandon(&self);
}

/// How far a flush has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    pub(crate) spans: u64,
    pub(crate) events: u64,
}

/// Spans and session events without an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) spans: u64,
    pub(crate) events: u64,
}

/// A lane at one moment, or all lanes that a selector ever had, together.
#[derive(Default)]
pub(crate) struct LaneSnapshot {
    /// How many lanes are there.
    pub(crate) lanes: usize,
    pub(crate) ledgers: Ledgers,
    /// Estimated memory of the spans and session events that are queued and under way.
    pub(crate) held_bytes: usize,
    /// When the span ended that waits in a queue for the longest.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) failures: Option<Failures>,
    pub(crate) refused_span: Option<RefusedSpan>,
    pub(crate) last_delivery: Option<SystemTime>,
    /// Of the newest lane, as the next two.
    pub(crate) breakers: Breakers,
    pub(crate) key: Option<KeyStatus>,
    pub(crate) destination: Option<DestinationStatus>,
    /// The request that is under way for the longest.
    pub(crate) oldest_request: Option<RequestStatus>,
}

impl LaneSnapshot {
    /// Adds a newer lane.
    pub(super) fn add(&mut self, lane: Self) {
        let requests = self.oldest_request.into_iter().chain(lane.oldest_request);
        self.oldest_request = requests.min_by_key(|request| request.since);
        self.lanes += lane.lanes;
        self.ledgers.add(&lane.ledgers);
        self.held_bytes += lane.held_bytes;
        self.oldest = self.oldest.into_iter().chain(lane.oldest).min();
        self.failures = lane.failures.or(self.failures.take());
        self.refused_span = lane.refused_span.or(self.refused_span.take());
        self.last_delivery = self.last_delivery.max(lane.last_delivery);
        self.breakers = lane.breakers;
        self.key = lane.key;
        self.destination = lane.destination;
    }
}

/// The last row of failures, and what the last of them was.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) error: ExportError,
    pub(crate) status: ErrorsStatus,
}

impl Failures {
    pub(crate) fn goes_on(&self) -> bool {
        self.status.over.is_none()
    }

    /// Ends the row if a later tracer of the selector delivered something.
    pub(super) fn end_by(&mut self, delivery: Option<SystemTime>) {
        let delivery = delivery.map(wall_time::to_millis).filter(|at| *at > self.status.last);
        self.status.over = self.status.over.or(delivery);
    }
}
