//! The accounting interface of a lane.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

#[cfg(feature = "spool")]
use tracer_registry_spool::{Kind, RowId, Taken};

use super::key_status::KeyStatus;
use super::lane_status::{CopyStatus, DestinationStatus, ErrorsStatus, RedactionStatus, RefusedSpan, RequestStatus};
use crate::export::error::ExportError;
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::net::connections::Connections;
#[cfg(feature = "spool")]
use crate::export::payload::Payload;
#[cfg(feature = "spool")]
use crate::export::queue::session_event::SpooledEvent;
use crate::export::schedule::breaker_status::Breakers;
use crate::ledger::{DropReason, Ledgers};
use crate::policy::quota::QuotaUse;
use crate::util::wall_time;

/// A lane as its selector's ledger uses it.
pub(crate) trait CountedLane: Send + Sync {
    fn snapshot(&self) -> LaneSnapshot;

    /// Like [`snapshot`](Self::snapshot), but without texts: hashes no key and allocates nothing.
    fn summary(&self) -> LaneSummary;

    fn connections(&self) -> &Arc<Connections>;

    fn key(&self) -> &Arc<RotatingKey>;

    /// Makes everything accepted so far due now. Returns a mark to wait for.
    fn begin_flush(self: Arc<Self>) -> FlushMark;

    /// Returns how much of what was accepted before the mark is pending.
    fn pending(&self, mark: &FlushMark) -> Pending;

    /// Returns whether sending is paused, so that a flush must not wait.
    fn is_paused(&self) -> bool;

    /// Called after sending was paused. Ends waiting flushes.
    fn note_paused(&self);

    /// Called before sending continues after a pause.
    fn note_resuming(&self);

    /// Waits until everything accepted before the mark has an outcome, until sending is paused, or
    /// until the deadline.
    fn await_flush(&self, mark: &FlushMark, deadline: Instant);

    /// Closes the lane at the end of a shutdown. Drops and counts everything pending that is in memory
    /// alone.
    fn abandon(&self);

    /// Closes the lane. Drops and counts everything pending, and what arrives later. A purge drops
    /// what is on disk too.
    fn close(&self, reason: DropReason);

    /// Returns whether its data may go to disk: there is a spool, and the tracer is in the pool.
    #[cfg(feature = "spool")]
    fn is_spooled(&self) -> bool;

    /// Sets whether new data of this kind goes to disk first. With false, the lane decides: it may
    /// do so always, or still have data on its way to disk.
    #[cfg(feature = "spool")]
    fn set_durable(self: Arc<Self>, kind: Kind, durable: bool);

    /// Returns the bytes that the lane may load, or `None` if it may not load at all.
    #[cfg(feature = "spool")]
    fn window_room(&self) -> Option<usize>;

    /// Returns the first place in the order that has no row yet. All rows before it have one.
    #[cfg(feature = "spool")]
    fn first_unsaved_order(&self, kind: Kind) -> u64;

    /// Queues payloads that were on disk only, each with whether its spans are finished, and its
    /// row. Returns the rows without room. Called with the ledger locked.
    #[cfg(feature = "spool")]
    fn push_loaded(self: Arc<Self>, rows: Vec<(Payload, bool, Taken)>) -> Vec<RowId>;

    /// Queues session events that were on disk only, in this order. Returns the rows without room.
    /// Called with the ledger locked.
    #[cfg(feature = "spool")]
    fn push_loaded_events(self: Arc<Self>, rows: Vec<(SpooledEvent, Taken)>) -> Vec<RowId>;

    /// Records the spans of a payload that an earlier process accepted, so that their fates add up.
    #[cfg(feature = "spool")]
    fn note_recovered(&self, payload: &Payload);

    /// Gives the rows of queued data back to the disk. What is in flight stays.
    #[cfg(feature = "spool")]
    fn release_window(&self, kind: Kind);
}

/// Position up to which a flush waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushMark {
    pub(crate) spans: u64,
    pub(crate) events: u64,
    /// Order number of the flush. A lane with a spool waits for spans by this, because they move
    /// between queues.
    #[cfg(feature = "spool")]
    pub(crate) order: u64,
}

/// What a selector has on disk only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spooled {
    pub(crate) spans: u64,
    pub(crate) events: u64,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// When the oldest of it was accepted, as far as known.
    pub(crate) oldest: Option<SystemTime>,
}

/// Spans and session events without an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) spans: u64,
    pub(crate) events: u64,
}

/// Started spans.
#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Starts {
    pub(crate) recorded: u64,
    /// Sampled out.
    pub(crate) left_out: u64,
}

#[cfg(feature = "metrics")]
impl Starts {
    pub(super) fn add(&mut self, other: Self) {
        self.recorded += other.recorded;
        self.left_out += other.left_out;
    }
}

/// Snapshot of one lane, or of all lanes that a selector ever had.
#[derive(Default)]
pub(crate) struct LaneSnapshot {
    /// Number of open lanes.
    pub(crate) lanes: usize,
    pub(crate) ledgers: Ledgers,
    #[cfg(feature = "metrics")]
    pub(crate) starts: Starts,
    /// Estimated memory of queued and in-flight spans and session events.
    pub(crate) held_bytes: usize,
    /// End time of the oldest queued span, or when it was queued if it is encoded.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) failures: Option<Failures>,
    pub(crate) refused_span: Option<RefusedSpan>,
    pub(crate) last_delivery: Option<SystemTime>,
    pub(crate) redaction: RedactionStatus,
    /// Of the newest lane, like the next three fields.
    pub(crate) breakers: Breakers,
    pub(crate) key: Option<KeyStatus>,
    pub(crate) destination: Option<DestinationStatus>,
    pub(crate) copies: Vec<CopyStatus>,
    pub(crate) quota: Vec<QuotaUse>,
    /// The oldest request in progress.
    pub(crate) oldest_request: Option<RequestStatus>,
}

impl LaneSnapshot {
    /// Adds a newer lane.
    pub(super) fn add(&mut self, lane: Self) {
        let requests = self.oldest_request.into_iter().chain(lane.oldest_request);
        self.oldest_request = requests.min_by_key(|request| request.since);
        self.lanes += lane.lanes;
        self.ledgers.add(&lane.ledgers);
        #[cfg(feature = "metrics")]
        self.starts.add(lane.starts);
        self.held_bytes += lane.held_bytes;
        self.oldest = earlier(self.oldest, lane.oldest);
        self.failures = lane.failures.or(self.failures.take());
        self.refused_span = lane.refused_span.or(self.refused_span.take());
        self.last_delivery = self.last_delivery.max(lane.last_delivery);
        self.redaction.add(&lane.redaction);
        self.breakers = lane.breakers;
        self.key = lane.key;
        self.destination = lane.destination;
        self.copies = lane.copies;
        self.quota = lane.quota;
    }
}

/// Numbers of one lane, or of all lanes that a selector ever had.
#[derive(Default)]
pub(crate) struct LaneSummary {
    /// Number of open lanes.
    pub(crate) lanes: usize,
    pub(crate) ledgers: Ledgers,
    #[cfg(feature = "metrics")]
    pub(crate) starts: Starts,
    /// Estimated memory of queued and in-flight spans and session events.
    pub(crate) held_bytes: usize,
    /// End time of the oldest queued span, or when it was queued if it is encoded.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) last_delivery: Option<SystemTime>,
    #[cfg(feature = "metrics")]
    pub(crate) redaction: RedactionStatus,
    /// When the oldest request in progress began.
    pub(crate) oldest_request: Option<SystemTime>,
    /// The receiver refuses the key. Of the newest lane, like the next three fields.
    pub(crate) key_refused: bool,
    /// The last read of the key's source failed.
    pub(crate) key_failing: bool,
    /// Number of open breakers: of spans, and of session events.
    pub(crate) open_breakers: u8,
    /// The breaker of the endpoint is open.
    pub(crate) is_unreachable: bool,
}

impl LaneSummary {
    /// Adds a newer lane.
    pub(super) fn add(&mut self, lane: &Self) {
        self.lanes += lane.lanes;
        self.ledgers.add(&lane.ledgers);
        #[cfg(feature = "metrics")]
        self.starts.add(lane.starts);
        self.held_bytes += lane.held_bytes;
        self.oldest = earlier(self.oldest, lane.oldest);
        self.last_delivery = self.last_delivery.max(lane.last_delivery);
        #[cfg(feature = "metrics")]
        self.redaction.add(&lane.redaction);
        self.oldest_request = earlier(self.oldest_request, lane.oldest_request);
        self.key_refused = lane.key_refused;
        self.key_failing = lane.key_failing;
        self.open_breakers = lane.open_breakers;
        self.is_unreachable = lane.is_unreachable;
    }
}

fn earlier(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    one.into_iter().chain(other).min()
}

/// The last series of failures and its last error.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) error: ExportError,
    pub(crate) status: ErrorsStatus,
}

impl Failures {
    pub(crate) fn is_ongoing(&self) -> bool {
        self.status.over.is_none()
    }

    /// Ends the series if a later tracer of the selector delivered something.
    pub(super) fn end_by(&mut self, delivery: Option<SystemTime>) {
        let delivery = delivery.map(wall_time::to_millis).filter(|at| *at > self.status.last);
        self.status.over = self.status.over.or(delivery);
    }
}
