//! A lane as its selector's ledger sees it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::key_status::KeyStatus;
use super::lane_status::{DestinationStatus, ErrorsStatus, RefusedSpan, RequestStatus};
use crate::export::error::ExportError;
use crate::export::schedule::breaker::Breakers;
use crate::ledger::Ledger;
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

/// A lane at one moment.
pub(crate) struct LaneSnapshot {
    pub(crate) spans: Ledger,
    /// Estimated memory of the spans and session events that are queued and under way.
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
        let delivery = delivery.map(wall_time::shown).filter(|at| *at > self.status.last);
        self.status.over = self.status.over.or(delivery);
    }
}
