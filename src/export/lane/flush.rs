//! Flush and retirement of a lane.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[cfg(feature = "spool")]
use tracer_registry_spool::{Kind, RowId, Taken};

use super::lane::Lane;
use super::sync::wait_timeout;
#[cfg(feature = "metrics")]
use crate::export::accounting::counted_lane::Starts;
use crate::export::accounting::counted_lane::{CountedLane, FlushMark, LaneSnapshot, LaneSummary, Pending};
use crate::export::accounting::flush::after;
use crate::export::accounting::lane_status::{RedactionStatus, RequestKind};
use crate::export::accounting::report::TracerReport;
use crate::export::keys::rotating_key::RotatingKey;
use crate::export::net::connections::Connections;
#[cfg(feature = "spool")]
use crate::export::payload::Payload;
#[cfg(feature = "spool")]
use crate::export::queue::session_event::SpooledEvent;
#[cfg(feature = "redact")]
use crate::export::redact;
use crate::export::schedule::engine_event::EngineEvent;
#[cfg(feature = "spool")]
use crate::export::send::session_queue::SessionQueue;
#[cfg(feature = "spool")]
use crate::export::spool::load;
use crate::ledger::{DropReason, Ledgers};

impl CountedLane for Lane {
    fn snapshot(&self) -> LaneSnapshot {
        // Before taking the lane's lock, which ending spans wait for.
        let mut key = self.key.status();
        let breakers = self.breakers.status();
        let state = self.lock();
        state.key_refusals().add_to(&mut key, self.key.origin());
        LaneSnapshot {
            lanes: 1,
            ledgers: Ledgers {
                spans: state.ledger,
                events: state.events_ledger(),
            },
            #[cfg(feature = "metrics")]
            starts: self.starts(),
            held_bytes: state.share.held(),
            oldest: state.oldest(),
            failures: state.failures().cloned(),
            refused_span: state.refused_span().cloned(),
            last_delivery: state.last_delivery,
            redaction: self.redaction_status(),
            breakers,
            key: Some(key),
            destination: Some(self.destination_status()),
            copies: self.copy_statuses(),
            quota: self
                .policies
                .quota
                .as_ref()
                .map(|quota| quota.status())
                .unwrap_or_default(),
            oldest_request: state.oldest_request(|kind| match kind {
                RequestKind::Spans => [breakers.spans, breakers.endpoint],
                RequestKind::SessionEvents => [breakers.session_events, breakers.endpoint],
            }),
        }
    }

    fn summary(&self) -> LaneSummary {
        // Before taking the lane's lock, as in `snapshot`.
        let key_failing = self.key.is_failing();
        let (open_breakers, is_unreachable) = self.breakers.open();
        let state = self.lock();
        LaneSummary {
            lanes: 1,
            ledgers: Ledgers {
                spans: state.ledger,
                events: state.events_ledger(),
            },
            #[cfg(feature = "metrics")]
            starts: self.starts(),
            held_bytes: state.share.held(),
            oldest: state.oldest(),
            last_delivery: state.last_delivery,
            #[cfg(feature = "metrics")]
            redaction: self.redaction_status(),
            oldest_request: state.oldest_request_since(),
            key_refused: state.key_refusals().is_refused(),
            key_failing,
            open_breakers,
            is_unreachable,
        }
    }

    fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    fn key(&self) -> &Arc<RotatingKey> {
        &self.key
    }

    fn begin_flush(self: Arc<Self>) -> FlushMark {
        let mut state = self.lock();
        let mark = FlushMark {
            spans: state.pushed(),
            events: state.flush,
            #[cfg(feature = "spool")]
            order: self.order_of_flush(&mut state),
        };
        state.wake_retries();
        let event = state.make_due();
        self.note_due(&mut state);
        let pending = !state.is_drained();
        drop(state);
        self.breakers.wake_retries();
        if let Some(event) = event {
            self.notify(event);
        }
        #[cfg(feature = "spool")]
        self.load_now();
        if pending {
            self.notify(EngineEvent::Flush);
        }
        mark
    }

    fn pending(&self, mark: &FlushMark) -> Pending {
        self.state.lock().pending(mark)
    }

    fn is_paused(&self) -> bool {
        self.is_paused()
    }

    fn note_paused(&self) {
        self.end_flushes();
        #[cfg(feature = "spool")]
        self.release_queued(Kind::Spans);
    }

    fn note_resuming(&self) {
        self.renew_retry_time();
    }

    fn await_flush(&self, mark: &FlushMark, deadline: Instant) {
        // Kept: dropping the last owner drops lanes, and must not happen under the lock.
        let ledger = self.selector_ledger();
        let is_paused = || !self.shared.is_closing() && ledger.as_ref().is_some_and(|ledger| ledger.gate.is_closed());
        let mut state = self.state.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.pending(mark) == Pending::default() || left.is_zero() || is_paused() {
                return;
            }
            (state, _) = wait_timeout(&self.completed, state, left);
        }
    }

    fn abandon(&self) {
        self.close(DropReason::Shutdown);
    }

    fn close(&self, reason: DropReason) {
        if let Some(copies) = self.copies.as_ref().filter(|_| reason == DropReason::Purged) {
            copies.stop();
        }
        let left = self.lock().close(reason, &self.shared.budget);
        self.shared.interrupts.notify_waiters();
        self.notify_completed();
        drop(left);
        self.retire_if_done();
    }

    #[cfg(feature = "spool")]
    fn is_spooled(&self) -> bool {
        self.spool.is_some()
    }

    #[cfg(feature = "spool")]
    fn set_durable(self: Arc<Self>, kind: Kind, durable: bool) {
        if durable {
            self.become_durable(kind);
        } else {
            self.become_direct(kind);
        }
    }

    #[cfg(feature = "spool")]
    fn window_room(&self) -> Option<usize> {
        self.room_for_loads()
    }

    #[cfg(feature = "spool")]
    fn first_unsaved_order(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Spans => self.first_unsaved_span(),
            Kind::SessionEvents => self.first_unsaved_event(),
        }
    }

    #[cfg(feature = "spool")]
    fn push_loaded(self: Arc<Self>, rows: Vec<(Payload, bool, Taken)>) -> Vec<RowId> {
        self.queue_loaded(rows)
    }

    #[cfg(feature = "spool")]
    fn push_loaded_events(self: Arc<Self>, rows: Vec<(SpooledEvent, Taken)>) -> Vec<RowId> {
        SessionQueue::push_loaded(&self, rows)
    }

    #[cfg(feature = "spool")]
    fn note_recovered(&self, payload: &Payload) {
        self.note_accepted_payload(payload);
    }

    #[cfg(feature = "spool")]
    fn release_window(&self, kind: Kind) {
        match kind {
            Kind::Spans => self.release_queued(kind),
            Kind::SessionEvents => SessionQueue::leave_waiting(self),
        }
    }
}

impl Lane {
    /// Returns what redaction changed.
    fn redaction_status(&self) -> RedactionStatus {
        #[cfg(not(feature = "redact"))]
        return RedactionStatus::default();
        #[cfg(feature = "redact")]
        self.policies
            .redaction
            .as_deref()
            .map(redact::status)
            .unwrap_or_default()
    }

    /// Returns the started spans. Call under the lock: then each span that the ledger contains has
    /// its start counted.
    #[cfg(feature = "metrics")]
    fn starts(&self) -> Starts {
        Starts {
            recorded: self.stripes.started(),
            left_out: self.left_out.load(Ordering::Relaxed),
        }
    }

    /// Flushes this lane only and waits for completion, for at most `timeout`.
    pub(crate) fn flush(self: &Arc<Self>, timeout: Duration) -> TracerReport {
        let shared = self.shared();
        if shared.is_forked() {
            return TracerReport::forked(self.selector.clone());
        }
        let ledger = self.selector_ledger();
        let before = ledger.as_ref().map(|ledger| ledger.reported_of(self.as_ref()));
        let flush = [(Arc::clone(self) as Arc<dyn CountedLane>, Arc::clone(self).begin_flush())];
        shared.await_flushes(flush.iter(), after(timeout));
        let [(_, mark)] = &flush;
        match ledger.zip(before) {
            Some((ledger, before)) => ledger.report_lane(self.as_ref(), mark, &before),
            // The registry is gone and has reported its losses.
            None => TracerReport::nothing(self.selector.clone()),
        }
    }

    /// Returns how many flushes woke waiting retries so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.state.lock().flush
    }

    /// Waits before a retry. A flush ends the wait early, including one since the count was
    /// `flushes`.
    pub(crate) async fn wait_before_retry(&self, wait: Duration, flushes: u64) {
        let wake_retries = {
            let mut state = self.state.lock();
            if state.flush != flushes {
                return;
            }
            // Registered under the lock, so no flush is missed.
            Arc::clone(state.rare().wake_retries.get_or_insert_default()).notified_owned()
        };
        let sleep = tokio::time::sleep(wait);
        futures_util::future::select(std::pin::pin!(sleep), std::pin::pin!(wake_retries)).await;
    }

    /// Returns whether no span is open and nothing is pending. The answer stays true only if no
    /// handle of the tracer is left.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        // A span is in the ledger since its end.
        self.stripes.started() <= state.ledger.accepted() && state.is_drained()
    }

    /// Sends the queued spans without waiting for more. Unlike a flush, it does not wake waiting
    /// retries.
    pub(crate) fn send_now(self: &Arc<Self>) {
        let mut state = self.lock();
        let event = state.make_due();
        self.note_due(&mut state);
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
    }

    /// Sends the queued spans now, then moves the lane's totals to the selector's ledger. Called
    /// when the tracer and its spans are dropped.
    pub(crate) fn retire(self: &Arc<Self>) {
        if self.shared.is_forked() {
            return;
        }
        let mut state = self.lock();
        state.retiring = true;
        let event = state.make_due();
        self.note_due(&mut state);
        drop(state);
        match event {
            Some(event) => self.notify(event),
            None => self.retire_if_done(),
        }
    }

    pub(crate) fn retire_if_done(&self) {
        let state = self.lock();
        let done = state.retiring && state.is_drained();
        drop(state);
        if done && let Some(ledger) = self.selector_ledger() {
            ledger.retire(self);
            #[cfg(feature = "spool")]
            load::wake(&self.shared, &ledger);
        }
    }
}
