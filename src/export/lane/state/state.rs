//! The state that a lane's mutex guards: queue, schedule, counters. Schedule changes that concern
//! the engine return their event.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Notify;
#[cfg(feature = "spool")]
use tracer_registry_spool::Kind;
use uuid::Uuid;

use super::failures::LastFailures;
use super::in_flight::InFlight;
use super::key_refusals::KeyRefusals;
use super::outage::Outage;
use super::receiver_health::ReceiverHealth;
use super::requests::Requests;
#[cfg(feature = "spool")]
use super::saved_events::SavedEvents;
use super::schedule::{MakeEvent, Schedule};
#[cfg(feature = "spool")]
use super::staged::LaneSpool;
use crate::config::ExportSettings;
use crate::export::accounting::counted_lane::{Failures, FlushMark, Pending};
use crate::export::accounting::lane_status::{RefusedSpan, RequestKind, RequestStatus};
#[cfg(feature = "encoded")]
use crate::export::payload::Payload;
use crate::export::queue::budget::{Budget, MemoryShare};
use crate::export::queue::span_queue::{ChunkPool, Queue};
use crate::export::schedule::breaker_status::BreakerStatus;
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::parts::Halving;
use crate::ledger::{DropReason, Ledger};

#[derive(Default)]
pub(crate) struct State {
    /// Spans to send. While the lane is durable, all of them are on disk.
    pub(crate) spans: Queue,
    /// Spans that room is reserved for.
    pub(crate) reserved: usize,
    /// `None` without a spool, and for dedicated tracers.
    #[cfg(feature = "spool")]
    pub(crate) spool: Option<Box<LaneSpool>>,
    /// Memory of queued and in-flight spans and session events.
    pub(crate) share: MemoryShare,
    pub(crate) schedule: Schedule,
    /// When a timed lane is due.
    pub(crate) timed_until: Option<Instant>,
    pub(crate) in_flight: InFlight,
    /// Spans up to this sequence number are sent without waiting for more.
    pub(crate) due: u64,
    pub(crate) ledger: Ledger,
    /// Spans that stripes may take without the lock.
    pub(crate) granted: usize,
    /// Meetings of threads at the lock since the lane was idle.
    pub(crate) meetings: u8,
    pub(crate) flush: u64,
    pub(crate) halving: Halving,
    pub(crate) is_slow: bool,
    pub(crate) receiver_health: ReceiverHealth,
    /// `None` while no request is in progress.
    pub(crate) requests: Option<Box<Requests>>,
    pub(crate) last_delivery: Option<SystemTime>,
    /// Whether the lane is closed because its data was erased.
    pub(crate) is_purged: bool,
    /// Whether the tracer is dropped. Once nothing is pending, its totals move to the selector's
    /// ledger.
    pub(crate) retiring: bool,
    events: Option<Box<SessionEvents>>,
    pub(crate) rare: Option<Box<RareState>>,
}

/// Session-event state. Only lanes with sessions allocate it.
#[derive(Default)]
pub(crate) struct SessionEvents {
    pub(crate) ledger: Ledger,
    /// Pending events by the number of flushes when they were accepted.
    pub(crate) pending: BTreeMap<u64, u64>,
    /// Since when session-event requests fail.
    pub(crate) failing_since: Option<Instant>,
    /// Queues of the sessions with a handle or unsent events. The sender knows their type. A queue
    /// removes its entry when it is dropped.
    pub(crate) queues: BTreeMap<Uuid, Weak<dyn Any + Send + Sync>>,
    #[cfg(feature = "spool")]
    pub(crate) saved: SavedEvents,
}

#[cfg(feature = "spool")]
impl SessionEvents {
    /// Counts events with rows as left on disk, because the lane closes at a shutdown.
    fn leave_rows(&mut self) {
        let left = std::mem::take(&mut self.saved.rows);
        let queued = left.min(self.ledger.queued());
        self.ledger.hand_over(queued);
        self.ledger.hand_over_in_flight(left - queued);
    }
}

/// State that most lanes never allocate.
#[derive(Default)]
pub(crate) struct RareState {
    /// Number of values cut from open spans.
    pub(crate) cut_values: HashMap<SpanId, u64>,
    pub(crate) failures: LastFailures,
    pub(crate) refused_span: Option<Box<RefusedSpan>>,
    pub(crate) key_refusals: KeyRefusals,
    /// Set while span requests fail.
    pub(crate) outage: Option<Outage>,
    /// End of the last pause. No retry time began before.
    pub(crate) resumed: Option<Instant>,
    /// Wakes requests that wait to retry.
    pub(crate) wake_retries: Option<Arc<Notify>>,
}

impl State {
    pub(crate) fn events(&mut self) -> &mut SessionEvents {
        self.events.get_or_insert_default()
    }

    /// Returns whether new session events go to disk first.
    #[cfg(feature = "spool")]
    pub(crate) fn saves_events(&self) -> bool {
        let spool = self.spool.as_deref();
        spool.is_some_and(|spool| spool.is_durable(Kind::SessionEvents))
    }

    #[cfg(feature = "spool")]
    pub(crate) fn first_unsaved_event(&self) -> Option<u64> {
        self.events.as_ref()?.saved.unsaved.first().copied()
    }

    pub(crate) fn events_ledger(&self) -> Ledger {
        self.events.as_ref().map(|events| events.ledger).unwrap_or_default()
    }

    /// Returns the rare state, allocating it if needed.
    pub(crate) fn rare(&mut self) -> &mut RareState {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn failures(&self) -> Option<&Failures> {
        self.rare.as_ref()?.failures.current()
    }

    pub(crate) fn refused_span(&self) -> Option<&RefusedSpan> {
        self.rare.as_ref()?.refused_span.as_deref()
    }

    pub(crate) fn key_refusals(&self) -> KeyRefusals {
        self.rare.as_ref().map(|rare| rare.key_refusals).unwrap_or_default()
    }

    /// Returns the oldest request of a kind with pending data.
    pub(crate) fn oldest_request(&self, breakers: impl Fn(RequestKind) -> [BreakerStatus; 2]) -> Option<RequestStatus> {
        self.requests.as_ref()?.oldest(|kind| self.is_pending(kind), breakers)
    }

    /// Returns when the oldest request of a kind with pending data began.
    pub(crate) fn oldest_request_since(&self) -> Option<SystemTime> {
        self.requests.as_ref()?.oldest_since(|kind| self.is_pending(kind))
    }

    fn is_pending(&self, kind: RequestKind) -> bool {
        match kind {
            RequestKind::Spans => self.ledger.pending() > 0,
            RequestKind::SessionEvents => self.events_ledger().pending() > 0,
        }
    }

    pub(crate) fn outage(&mut self) -> Option<&mut Outage> {
        self.rare.as_mut()?.outage.as_mut()
    }

    pub(crate) fn resumed(&self) -> Option<Instant> {
        self.rare.as_ref()?.resumed
    }

    /// Ends the outage: a request was delivered, or refused permanently, or a pause ended.
    pub(crate) fn end_outage(&mut self, kind: RequestKind) {
        match kind {
            RequestKind::Spans => self.rare.iter_mut().for_each(|rare| rare.outage = None),
            RequestKind::SessionEvents => self.events.iter_mut().for_each(|events| events.failing_since = None),
        }
    }

    /// Removes and returns the number of values cut from an ending span.
    pub(crate) fn take_cut(&mut self, span: SpanId) -> Option<u64> {
        let cut_values = &mut self.rare.as_mut()?.cut_values;
        // Usually empty; avoid hashing then.
        if cut_values.is_empty() {
            None
        } else {
            cut_values.remove(&span)
        }
    }

    /// Starts sending, if the schedule allows it for this cause. Makes the whole queue due, unless
    /// the lane was ready.
    pub(crate) fn start(&mut self, cause: Cause) -> bool {
        let starts = match cause {
            Cause::Ready => self.schedule == Schedule::Ready,
            Cause::Deadline(now) => self.is_over(now),
            Cause::Memory => self.schedule == Schedule::Timed,
        };
        if starts {
            if cause != Cause::Ready {
                self.due = self.pushed();
            }
            self.schedule = Schedule::Running;
        }
        starts
    }

    /// Wakes requests that wait to retry, and counts a flush.
    pub(crate) fn wake_retries(&mut self) {
        self.flush += 1;
        if let Some(wake_retries) = self.rare.as_ref().and_then(|rare| rare.wake_retries.as_ref()) {
            wake_retries.notify_waiters();
        }
    }

    /// Returns the total number of spans pushed to the queue.
    pub(crate) fn pushed(&self) -> u64 {
        self.spans.taken() + self.spans.len() as u64
    }

    /// Returns the queue that new spans enter.
    #[inline]
    pub(crate) fn incoming(&mut self) -> &mut Queue {
        #[cfg(feature = "spool")]
        if let Some(spool) = &mut self.spool
            && spool.is_durable(Kind::Spans)
        {
            return &mut spool.staged;
        }
        &mut self.spans
    }

    /// Returns the number of spans that wait to be sent or saved, or have room.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        let held = self.spans.len() + self.reserved;
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return held + spool.held();
        }
        held
    }

    /// Returns whether no further span fits, if the lane may hold `max`.
    #[inline]
    pub(crate) fn is_full(&self, max: usize) -> bool {
        self.held() >= max
    }

    /// Reserves room for a request of encoded spans, if the lane may hold `max`. A lane without
    /// spans has room for any number.
    #[cfg(feature = "encoded")]
    pub(crate) fn reserve(&mut self, spans: usize, max: usize) -> bool {
        let held = self.held();
        let fits = held == 0 || spans <= max.saturating_sub(held);
        if fits {
            self.reserved += spans;
        }
        fits
    }

    /// Counts one more span and returns the chunk to push it to.
    #[inline]
    pub(crate) fn reserve_slot(&mut self, bytes: usize, chunks: &ChunkPool) -> &mut Vec<SpanData> {
        self.ledger.enqueue(1);
        self.incoming().reserve_slot(bytes, chunks)
    }

    /// Queues encoded spans that have room.
    #[cfg(feature = "encoded")]
    pub(crate) fn push_payload(&mut self, payload: Payload, bytes: usize) {
        let spans = payload.spans();
        self.reserved -= spans;
        self.ledger.enqueue(spans as u64);
        self.share.enqueue_admitted(bytes);
        self.incoming().push_payload(payload, bytes);
    }

    /// Returns how many more spans may be queued or granted until a push must notify the engine or
    /// drop its span.
    pub(crate) fn free_slots(&self, settings: &ExportSettings) -> usize {
        // One less than a batch: the push that completes it makes the lane ready.
        let most = match self.incoming_schedule() {
            Schedule::Timed => settings.full_batch() - 1,
            Schedule::Ready | Schedule::Running => settings.max_queue_size,
            Schedule::Idle | Schedule::Closed => 0,
        };
        most.saturating_sub(self.held() + self.granted)
    }

    /// Returns the schedule of the queue that new spans enter.
    #[inline]
    fn incoming_schedule(&self) -> Schedule {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool
            && spool.is_durable(Kind::Spans)
            && self.schedule != Schedule::Closed
        {
            return spool.schedule();
        }
        self.schedule
    }

    /// Returns whether spans need nothing but a place: no outage records them, and none has cut
    /// values.
    pub(crate) fn may_grant(&self) -> bool {
        let is_needless = |rare: &RareState| rare.outage.is_none() && rare.cut_values.is_empty();
        self.rare.as_deref().is_none_or(is_needless)
    }

    /// Marks full batches as due. The remainder waits for more spans.
    pub(crate) fn note_full(&mut self, full_batch: usize) {
        let whole = self.spans.len() - self.spans.len() % full_batch;
        self.due = self.due.max(self.spans.taken() + whole as u64);
    }

    /// Makes the lane ready when a full batch is queued. Returns the event if the schedule changed.
    pub(crate) fn make_full_batch_ready(&mut self, full_batch: usize) -> Option<MakeEvent> {
        let changed = matches!(self.schedule, Schedule::Idle | Schedule::Timed);
        if changed {
            self.note_full(full_batch);
            self.schedule = Schedule::Ready;
        }
        changed.then_some(EngineEvent::Ready)
    }

    /// Makes the whole queue due. Returns the event if the schedule changed.
    pub(crate) fn make_ready(&mut self) -> Option<MakeEvent> {
        self.due = self.pushed();
        match self.schedule {
            Schedule::Idle | Schedule::Timed => {
                self.schedule = Schedule::Ready;
                Some(EngineEvent::Ready)
            }
            Schedule::Ready | Schedule::Running | Schedule::Closed => None,
        }
    }

    /// Makes the queue due, unless it is empty, and staged spans too. Returns the event if a schedule
    /// changed.
    pub(crate) fn make_due(&mut self) -> Option<MakeEvent> {
        let event = if self.spans.is_empty() { None } else { self.make_ready() };
        #[cfg(feature = "spool")]
        if let Some(spool) = &mut self.spool {
            return spool.make_due().or(event);
        }
        event
    }

    /// Returns when the oldest span ended, or was accepted.
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        let oldest = self.spans.oldest();
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return oldest.or(spool.staged.oldest());
        }
        oldest
    }

    /// Makes an idle lane timed. Returns the event if the schedule changed.
    pub(crate) fn make_timed(&mut self, delay: Duration) -> Option<MakeEvent> {
        let idle = self.schedule == Schedule::Idle;
        if idle {
            self.start_timer(delay);
        }
        idle.then_some(EngineEvent::Timed)
    }

    /// Makes the lane timed, due after `delay`.
    pub(crate) fn start_timer(&mut self, delay: Duration) {
        self.schedule = Schedule::Timed;
        self.timed_until = Instant::now().checked_add(delay);
    }

    /// Returns whether the lane is timed and due. Ignores stale deadlines of the engine.
    fn is_over(&self, now: Instant) -> bool {
        self.schedule == Schedule::Timed && self.timed_until.is_some_and(|until| until <= now)
    }

    /// Closes the lane and counts everything pending as dropped. Returns the queue, to free it
    /// outside the lock.
    pub(crate) fn close(&mut self, reason: DropReason, budget: &Budget) -> Queue {
        if self.schedule != Schedule::Closed {
            self.share.close(budget);
            self.schedule = Schedule::Closed;
            self.is_purged = reason == DropReason::Purged;
            #[cfg(feature = "spool")]
            if !self.is_purged {
                self.leave_rows();
            }
            self.ledger.abandon(reason);
            self.in_flight = InFlight::default();
            if let Some(events) = &mut self.events {
                #[cfg(feature = "spool")]
                if !self.is_purged {
                    events.leave_rows();
                }
                events.ledger.abandon(reason);
                events.pending.clear();
            }
        }
        #[cfg(feature = "spool")]
        if let Some(spool) = &mut self.spool {
            self.spans.append(&mut spool.take_all());
        }
        std::mem::take(&mut self.spans)
    }

    /// Returns why a closed lane drops data.
    pub(crate) fn refusal(&self) -> DropReason {
        if self.is_purged {
            DropReason::Purged
        } else {
            DropReason::AfterShutdown
        }
    }

    /// Returns how much of what was accepted before a flush is pending.
    pub(crate) fn pending(&self, mark: &FlushMark) -> Pending {
        if self.schedule == Schedule::Closed {
            return Pending::default();
        }
        let before_the_flush = self
            .events
            .iter()
            .flat_map(|events| events.pending.range(..=mark.events));
        Pending {
            spans: self.spans_before(mark),
            events: before_the_flush.map(|(_, count)| count).sum(),
        }
    }

    fn spans_before(&self, mark: &FlushMark) -> u64 {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            let in_memory = self.spans.before_flush(mark.order) + self.in_flight.before_flush(mark.order);
            return in_memory + spool.before_flush(mark.order);
        }
        mark.spans.saturating_sub(self.spans.taken()) + self.in_flight.before(mark.spans)
    }

    pub(crate) fn is_drained(&self) -> bool {
        #[cfg(feature = "spool")]
        if self.events.as_ref().is_some_and(|events| events.saved.saving > 0) {
            return false;
        }
        self.ledger.pending() == 0 && self.events_ledger().pending() == 0
    }
}
