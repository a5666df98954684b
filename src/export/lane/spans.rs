//! The spans of a lane, from their start to their outcome.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;

use super::lane::Lane;
use super::state::{Schedule, State};
use crate::backend::{CUT_VALUES, cut_values};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::encode::synthetic_span::span;
use crate::export::queue::byte_size::byte_size;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;
use crate::util::wall_time::Moment;

/// Batches of a lane that may be set aside at the same time, while it is looked for what the receiver fails on.
const MAX_ASIDE: usize = 4;

impl Lane {
    /// A span was started, and is recorded or left out by sampling.
    #[cfg(feature = "metrics")]
    pub(crate) fn note_start(&self, recorded: bool) {
        self.starts.count(recorded);
    }

    /// The SDK started a span that is recorded.
    pub(crate) fn note_started(&self) {
        // Relaxed: who asks whether spans are open has seen every handle go that one could have been started with.
        self.open_spans.fetch_add(1, Ordering::Relaxed);
    }

    /// The span ended, and is in the queue or in the ledger by now.
    pub(crate) fn note_ended(&self) {
        // Release, for the load in `is_idle`: who sees the span closed sees it queued.
        self.open_spans.fetch_sub(1, Ordering::Release);
    }

    /// Takes a span that began at that moment and ends now, in a trace of its own. Never waits; no sampling leaves it out.
    pub(crate) fn record(self: &Arc<Self>, name: &'static str, began: Moment, attributes: Vec<KeyValue>) {
        #[cfg(feature = "metrics")]
        self.note_start(true);
        self.push(span(name, began, attributes));
    }

    /// Values of a span that is open were cut. Kept here and not on the span, whose attributes may be at their limit by now.
    pub(crate) fn note_cut(&self, span: SpanId, values: u64) {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        let cut = state.seldom().cut_values.entry(span).or_default();
        *cut = cut.saturating_add(values);
    }

    /// The span had ended when [`note_cut`](Self::note_cut) was called, and will not come for the count.
    pub(crate) fn forget_cut(&self, span: SpanId) {
        if let Some(mut state) = self.state.lock_unless_forked() {
            state.take_cut(span);
        }
    }

    /// Takes a span that ended. Never waits; a span that cannot be kept is dropped and counted. What becomes of one in a fork is not counted:
    /// nobody sends it.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, mut span: SpanData) {
        let settings = &self.shared.settings;
        let mut bytes = byte_size(&span);
        // In a fork, whatever is locked now may stay so.
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        if let Some(cut) = state.take_cut(span.span_context.span_id()) {
            span.attributes.extend(cut_values(CUT_VALUES, cut));
            bytes = byte_size(&span);
        }
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.ledger.refuse(DropReason::AfterShutdown);
            return;
        }
        let full = state.spans.len() >= settings.max_queue_size;
        if full || !state.share.enqueue(bytes, &self.shared.budget) {
            let reason = state.standings.no_room(RequestKind::Spans);
            state.ledger.refuse(reason);
            drop(state);
            self.log_refused_at_the_door(RequestKind::Spans, reason);
            return;
        }
        state.place(bytes, &self.shared.chunks).push(span);
        self.note_queued(&mut state);
        let event = if state.spans.len() >= settings.full_batch() {
            state.make_full(settings.full_batch())
        } else {
            state.make_timed(settings.scheduled_delay)
        };
        self.note_due(&mut state);
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
        self.shared.look_at_memory();
    }

    /// Begins to send, if the schedule allows it for this cause. Returns the bytes that wait in the queue.
    pub(crate) fn start(&self, cause: Cause) -> Option<usize> {
        let mut state = self.state.lock();
        if !state.start(cause) {
            return None;
        }
        if cause != Cause::Ready {
            self.note_due(&mut state);
        }
        Some(state.spans.bytes())
    }

    /// Whether a running lane has something to send; where not, it is idle or timed again.
    pub(crate) fn is_due(self: &Arc<Self>) -> bool {
        let settings = &self.shared.settings;
        let mut state = self.state.lock();
        if state.schedule != Schedule::Running {
            return false;
        }
        state.note_full(settings.full_batch());
        self.note_due(&mut state);
        if state.spans.taken() < state.due {
            return true;
        }
        let empty = state.spans.is_empty();
        if empty {
            state.schedule = Schedule::Idle;
        } else {
            state.start_timer(settings.scheduled_delay);
        }
        drop(state);
        if empty {
            self.retire_if_done();
        } else {
            self.notify(EngineEvent::Timed);
        }
        false
    }

    /// The next batch of a lane that has one due; nothing where it was closed meanwhile.
    pub(crate) fn take_batch(&self) -> Batch {
        let max = self.shared.settings.max_export_batch_size;
        let mut state = self.state.lock();
        let batch = state.spans.take(max, &self.shared.chunks);
        let bytes = batch.bytes();
        state.ledger.take(batch.len() as u64);
        state.share.send(bytes);
        state.in_flight.take(batch.numbers(&(0..batch.len())), bytes);
        drop(state);
        batch
    }

    /// Makes a span what is sent: with its session, its source and all that every span has, and without links to other tracers' spans. A link
    /// has their ids in it, and whoever made it may not have known whose they are.
    pub(crate) fn finish(&self, span: &mut SpanData) {
        let before = span.links.links.len();
        span.links
            .links
            .retain(|link| self.identity.may_link(&link.span_context));
        let foreign = before - span.links.links.len();
        if foreign > 0 {
            self.identity.boundary().note_foreign_links(foreign);
            let foreign = u32::try_from(foreign).unwrap_or(u32::MAX);
            span.links.dropped_count = span.links.dropped_count.saturating_add(foreign);
        }
        let own = &span.span_context;
        let is_of_trace = self.destination.session_per_trace && self.identity.marked(own.span_id());
        let session_of = is_of_trace.then(|| own.trace_id());
        self.destination.finish(span, session_of);
    }

    /// A batch or a part of one has its outcome, by the numbers of its spans.
    pub(crate) fn complete(&self, spans: Range<u64>, outcome: Outcome) {
        let count = spans.end - spans.start;
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed {
            // The ledger was closed with these spans in it, as dropped.
            return;
        }
        match outcome {
            Outcome::Delivered { rejected } => {
                state.ledger.deliver(count - rejected);
                state.ledger.drop_in_flight(rejected, DropReason::Rejected);
                state.last_delivery = Some(SystemTime::now());
                if rejected < count {
                    state.halving.note_taken();
                }
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => state.ledger.drop_in_flight(count, reason),
            // It has none yet.
            Outcome::Faulted => return,
        }
        let freed = state.in_flight.complete(&spans);
        state.share.complete(freed, &self.shared.budget);
        drop(state);
        // Before those who flush go on: what they wait for is in the log by then.
        self.log_outcome(RequestKind::Spans, count, outcome);
        self.notify_completed();
    }

    /// A span was queued: what of it is due is seen by [`note_due`](Self::note_due).
    #[inline]
    pub(super) fn note_queued(&self, state: &mut State) {
        if state.outage().is_some() {
            let settings = &self.shared.settings;
            let (pushed, now) = (state.pushed(), self.shared.driver.now());
            state.note_full(settings.full_batch());
            if let Some(outage) = state.outage() {
                outage.note_queued(pushed, now, settings.scheduled_delay);
            }
        }
    }

    /// More may be due than before.
    pub(super) fn note_due(&self, state: &mut State) {
        let due = state.due;
        if let Some(outage) = state.outage() {
            outage.note_due(due, self.shared.driver.now());
        }
    }

    /// Whether a batch that was refused is to be sent in halves.
    pub(crate) fn may_divide(&self) -> bool {
        self.state.lock().halving.may_divide()
    }

    /// Requests of which spans were taken.
    pub(crate) fn taken_requests(&self) -> u64 {
        self.state.lock().halving.taken_requests()
    }

    /// Whether one more batch may be under way beside the one that is sent.
    pub(crate) fn has_room_aside(&self) -> bool {
        self.state.lock().in_flight.batches() <= MAX_ASIDE
    }

    /// A batch was divided, and nothing of it was taken.
    pub(crate) fn note_barren(&self) {
        self.state.lock().halving.note_barren();
    }
}
