//! The spans of a lane, from start to outcome.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;

use super::lane::Lane;
use super::state::{MakeEvent, Schedule, State};
use super::sync::Guard;
use crate::backend::{CUT_VALUES, cut_values};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::encode::synthetic_span::span;
use crate::export::explain::fate::Note;
use crate::export::queue::byte_size::byte_size;
use crate::export::queue::span_queue::Batch;
#[cfg(feature = "redact")]
use crate::export::redact;
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;
use crate::policy::quota::{Amount, Limiter, Taken};
use crate::util::wall_time::Moment;

/// Most batches of a lane in quarantine at the same time, while the span that the receiver fails on
/// is searched.
const MAX_QUARANTINED: usize = 4;

impl Lane {
    /// Counts a started recorded span. It is open until it is pushed.
    pub(crate) fn note_started(&self) {
        self.stripes.note_started(1);
    }

    /// Returns the index of this thread's stripe, if the lane has stripes.
    #[inline]
    pub(crate) fn stripe_of_thread(&self) -> Option<usize> {
        self.stripes.index_of_thread()
    }

    /// Queues a synthetic span from `began` to now, in its own trace. Not sampled. Never blocks. Copies
    /// get it as the rules of the binding leave it.
    pub(crate) fn record(self: &Arc<Self>, name: &'static str, began: Moment, attributes: Vec<KeyValue>) {
        let span = span(name, began, attributes);
        if let Some(copies) = &self.copies {
            #[cfg(feature = "redact")]
            let mut span = span.clone();
            #[cfg(feature = "redact")]
            if let Some(redaction) = &self.policies.redaction {
                redact::span(redaction, self.destination.names, &mut span);
            }
            self.copy_to_targets(copies, &span, |_| true);
        }
        self.note_started();
        self.queue(span);
    }

    /// Counts values cut from an open span. Stored here because the span's attributes may be at
    /// their limit.
    pub(crate) fn note_cut(&self, span: SpanId, values: u64) {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        // Spans in stripes ignore cut values.
        self.stripes.collect(&mut state);
        let cut = state.rare().cut_values.entry(span).or_default();
        *cut = cut.saturating_add(values);
        if let Some(copies) = &self.copies {
            copies.note_cut();
        }
    }

    /// Removes the count of a span that had ended before [`note_cut`](Self::note_cut) was called.
    pub(crate) fn forget_cut(&self, span: SpanId) {
        if let Some(mut state) = self.state.lock_unless_forked() {
            state.take_cut(span);
        }
    }

    /// Takes an ended span of the program: removes links to other tracers, copies it if the binding
    /// says so, and queues it.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, mut span: SpanData) {
        if !span.links.links.is_empty() {
            self.remove_foreign_links(&mut span);
        }
        if let Some(copies) = &self.copies
            && !self.copy_span(copies, &mut span)
        {
            // Recorded for a target alone.
            return;
        }
        self.queue(span);
    }

    /// Queues a span. Never blocks. A span that does not fit is dropped and counted. In a forked
    /// child, spans are discarded without being counted.
    pub(super) fn queue(self: &Arc<Self>, span: SpanData) {
        let shared = &*self.shared;
        let settings = &shared.settings;
        let trace_id = span.span_context.trace_id();
        // Before the span is queued: its outcome comes later.
        self.note_fate(trace_id, Note::Accepted(None));
        let mut bytes = byte_size(&span);
        let charged = match &self.policies.quota {
            None => None,
            Some(quota) => match Self::charge_span(quota, bytes) {
                Some(taken) => Some((quota, taken)),
                None => return self.refuse_span(&span),
            },
        };
        if !shared.is_closing()
            && let Some(mut stripe) = self.stripes.reserve_slot(bytes)
        {
            stripe.spans.push(span);
            return;
        }
        let refund = || {
            if let Some((quota, taken)) = charged {
                quota.refund(taken);
            }
        };
        // After a fork, a lock held by another thread is never released.
        let Some(mut state) = self.lock_to_push() else {
            return;
        };
        self.stripes.make_room(&mut state, shared);
        let cut = state.take_cut(span.span_context.span_id());
        if cut.is_some() {
            bytes += size_of::<KeyValue>() + CUT_VALUES.len();
        }
        if state.schedule == Schedule::Closed || shared.is_closing() {
            let reason = state.refusal();
            state.ledger.refuse(reason);
            drop(state);
            refund();
            self.note_fate(trace_id, Note::Dropped(reason));
            return;
        }
        let fits = |state: &mut State| {
            #[cfg(feature = "spool")]
            if self.is_reserved_for_loads(state) {
                return false;
            }
            !state.is_full(settings.max_queue_size) && state.share.enqueue(bytes, &shared.budget)
        };
        // Unused grants of other threads do not drop the span.
        let is_queued = fits(&mut state) || self.stripes.collect(&mut state) && fits(&mut state);
        if !is_queued {
            let reason = state.receiver_health.drop_reason(RequestKind::Spans);
            #[cfg(feature = "spool")]
            let reason = state.spool_drop_reason().unwrap_or(reason);
            state.ledger.refuse(reason);
            drop(state);
            refund();
            self.note_fate(trace_id, Note::Dropped(reason));
            self.log_refused(RequestKind::Spans, reason);
            return;
        }
        let chunk = state.reserve_slot(bytes, &shared.chunks);
        chunk.push(span);
        if let (Some(cut), Some(span)) = (cut, chunk.last_mut()) {
            // A vector that is full would double.
            span.attributes.reserve_exact(1);
            span.attributes.extend(cut_values(CUT_VALUES, cut));
        }
        let event = self.schedule_queued(&mut state);
        self.stripes.grant(&mut state, bytes, shared);
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
        shared.check_memory_pressure();
    }

    /// Takes a span of `bytes` of the quota. Returns `None` if it does not fit. The bytes are the
    /// estimate that also counts for the queue.
    #[inline(never)]
    fn charge_span(quota: &Limiter, bytes: usize) -> Option<Taken> {
        let amount = Amount {
            spans: 1,
            bytes: bytes as u64,
            requests: 0,
        };
        quota.take(amount).ok()
    }

    /// Drops and counts an ended span that is beyond the quota.
    #[cold]
    #[inline(never)]
    fn refuse_span(self: &Arc<Self>, span: &SpanData) {
        let context = &span.span_context;
        let trace_id = context.trace_id();
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        state.take_cut(context.span_id());
        let is_closed = state.schedule == Schedule::Closed || self.shared.is_closing();
        let reason = if is_closed { state.refusal() } else { DropReason::Quota };
        state.ledger.refuse(reason);
        drop(state);
        self.note_fate(trace_id, Note::Dropped(reason));
        if !is_closed {
            self.log_refused(RequestKind::Spans, reason);
        }
    }

    /// Locks the state for a push. Returns `None` in a forked child if the lock is taken.
    #[inline]
    fn lock_to_push(&self) -> Option<Guard<'_, State>> {
        self.state.try_lock().or_else(|| {
            let mut state = self.state.lock_unless_forked()?;
            self.stripes.note_meeting(&mut state);
            Some(state)
        })
    }

    /// Schedules the lane after spans were queued. Returns the event if the schedule changed.
    #[inline]
    pub(super) fn schedule_queued(&self, state: &mut State) -> Option<MakeEvent> {
        #[cfg(feature = "spool")]
        if state.spool.is_some() {
            return self.schedule_spooled(state);
        }
        self.schedule_direct(state)
    }

    /// Schedules the queue after spans were added to it. Returns the event if the schedule changed.
    #[inline]
    pub(super) fn schedule_direct(&self, state: &mut State) -> Option<MakeEvent> {
        let settings = &self.shared.settings;
        self.note_queued(state);
        let event = if state.spans.len() >= settings.full_batch() {
            state.make_full_batch_ready(settings.full_batch())
        } else {
            state.make_timed(settings.scheduled_delay)
        };
        self.note_due(state);
        event
    }

    /// Starts sending, if the schedule allows it for this cause. Returns the queued bytes, or
    /// `None` if it does not.
    pub(crate) fn start(&self, cause: Cause) -> Option<usize> {
        let mut state = self.lock();
        if !state.start(cause) {
            return None;
        }
        if cause != Cause::Ready {
            self.note_due(&mut state);
        }
        Some(state.spans.bytes())
    }

    /// Returns whether a running lane has a batch due. Otherwise the lane becomes idle or timed.
    pub(crate) fn is_due(self: &Arc<Self>) -> bool {
        let settings = &self.shared.settings;
        let mut state = self.lock();
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
            state.meetings = 0;
        } else {
            state.start_timer(settings.scheduled_delay);
        }
        drop(state);
        if empty {
            #[cfg(feature = "spool")]
            self.try_direct();
            self.retire_if_done();
        } else {
            self.notify(EngineEvent::Timed);
        }
        false
    }

    /// Takes the next batch. Empty if the lane was closed meanwhile.
    pub(crate) fn take_batch(&self) -> Batch {
        let max = self.shared.settings.max_export_batch_size;
        let mut state = self.lock();
        #[cfg_attr(not(feature = "spool"), expect(unused_mut, reason = "chunks get order numbers"))]
        let mut batch = state.spans.take(max, &self.shared.chunks);
        let bytes = batch.bytes();
        state.ledger.take(batch.len() as u64);
        state.share.send(bytes);
        state.in_flight.take(batch.numbers(&(0..batch.len())), bytes);
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            batch.number_chunks(|spans| spool.next_order(spans));
            state.in_flight.set_flush_order(batch.flush_order());
        }
        drop(state);
        batch
    }

    /// Removes links to other tracers' spans, because a link exposes their ids.
    #[inline(never)]
    fn remove_foreign_links(&self, span: &mut SpanData) {
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
    }

    /// Completes the spans of a batch that are not encoded for export: applies the binding's rules of
    /// redaction, then adds what the binding configures. Call once for each span.
    pub(crate) fn finish_spans(&self, batch: &mut Batch) {
        #[cfg(feature = "redact")]
        if let Some(redaction) = &self.policies.redaction {
            let names = self.destination.names;
            batch.iter_mut().for_each(|span| redact::span(redaction, names, span));
        }
        batch.iter_mut().for_each(|span| self.finish(span));
    }

    /// Completes a span: adds the session, the source and the attributes of every span.
    fn finish(&self, span: &mut SpanData) {
        let own = &span.span_context;
        let is_of_trace = self.destination.session_per_trace && self.identity.marked(own.span_id());
        let session_of = is_of_trace.then(|| own.trace_id());
        // A copy has the limit of its source, and spans that this crate creates have none.
        if self.identity.made(own.span_id()) {
            self.destination.drop_extra(span);
        }
        self.destination.finish(span, session_of);
    }

    /// Records the outcome of a batch or a part of one, given by sequence numbers.
    pub(crate) fn complete(&self, spans: Range<u64>, outcome: Outcome) {
        let count = spans.end - spans.start;
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed {
            // Closing the lane counted these spans as dropped.
            return;
        }
        match outcome {
            Outcome::Delivered { rejected } => {
                state.ledger.deliver(count - rejected);
                state.ledger.drop_in_flight(rejected, DropReason::Rejected);
                state.last_delivery = Some(SystemTime::now());
                if rejected < count {
                    state.halving.note_delivered();
                }
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => state.ledger.drop_in_flight(count, reason),
            // No outcome yet.
            Outcome::Faulted | Outcome::HandedOver => return,
        }
        let freed = state.in_flight.complete(&spans);
        state.share.complete(freed, &self.shared.budget);
        #[cfg(feature = "spool")]
        let rows = state.complete_tickets(&spans);
        drop(state);
        #[cfg(feature = "spool")]
        self.complete_rows(rows);
        // Log before waking flushes, so that a finished flush implies a logged outcome.
        self.log_outcome(RequestKind::Spans, count, outcome);
        self.notify_completed();
        #[cfg(feature = "spool")]
        if matches!(outcome, Outcome::Delivered { .. }) {
            self.note_receiver_works(RequestKind::Spans);
        }
    }

    /// Records a queued span for the current outage, if any. [`note_due`](Self::note_due) records
    /// due spans.
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

    /// Records newly due spans for the current outage, if any.
    pub(super) fn note_due(&self, state: &mut State) {
        let due = state.due;
        if let Some(outage) = state.outage() {
            outage.note_due(due, self.shared.driver.now());
        }
    }

    /// Returns whether a refused batch is split.
    pub(crate) fn may_split(&self) -> bool {
        self.state.lock().halving.may_split()
    }

    /// Returns the number of requests that delivered spans.
    pub(crate) fn delivered_requests(&self) -> u64 {
        self.state.lock().halving.delivered_requests()
    }

    /// Returns whether one more batch may be quarantined.
    pub(crate) fn has_quarantine_slot(&self) -> bool {
        self.state.lock().in_flight.batches() <= MAX_QUARANTINED
    }

    /// Stops splitting until spans are delivered: a split batch delivered nothing.
    pub(crate) fn disable_splitting(&self) {
        self.state.lock().halving.disable_splitting();
    }
}
