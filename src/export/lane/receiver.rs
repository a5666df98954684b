//! How a lane tracks its receiver, and when pending data expires while the receiver fails (see
//! `Outage`).

use std::ops::Range;
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanId, TraceId};

use super::lane::Lane;
use super::state::Outage;
use super::state::{Schedule, State};
use crate::export::accounting::lane_status::{RefusedSpan, RequestKind};
use crate::export::error::ExportError;
use crate::export::explain::fate::Note;
use crate::export::keys::key_state::KeyWaiter;
use crate::export::keys::request_key::SentKey;
use crate::export::send::outcome::Outcome;
use crate::export::send::verdict::Verdict;
use crate::ledger::DropReason;

/// Start of the time that counts against `export.retry.max_elapsed`, or the start of the outage if
/// that is later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Age {
    /// When the first queued span was due.
    Queue,
    /// When the span before this sequence number was due.
    Spans(u64),
    /// When the session event was accepted.
    Event(Instant),
    /// When a quarantined batch was first sent, or a session event was first refused. Other
    /// requests' successes and later outages do not extend it; the end of a pause does.
    Since(Instant),
}

impl KeyWaiter for Lane {
    fn note_key_change(&self) {
        self.breakers.note_new_key();
        let mut state = self.state.lock();
        state.receiver_health.forget_key_refusal();
        state.wake_retries();
        drop(state);
        #[cfg(feature = "spool")]
        self.load_now();
    }
}

impl Lane {
    pub(crate) fn is_slow(&self) -> bool {
        self.state.lock().is_slow
    }

    /// Marks the lane as slow: its next requests use the semaphore for slow lanes.
    pub(crate) fn note_slow(&self) {
        self.state.lock().is_slow = true;
    }

    /// Records a successful request, possibly with a warning from the receiver.
    pub(crate) fn note_success(&self, kind: RequestKind, slow: bool, warning: Option<ExportError>) {
        let mut state = self.state.lock();
        state.is_slow = slow;
        match warning {
            Some(warning) => state.rare().failures.fail(kind, warning),
            // Do not allocate for lanes that never failed.
            None => state.rare.iter_mut().for_each(|rare| rare.failures.succeed(kind)),
        }
    }

    /// Records a failed request. A quick failure does not mark the lane as slow, because it does
    /// not hold up other lanes.
    pub(crate) fn note_failure(&self, kind: RequestKind, slow: bool, error: ExportError) {
        let mut state = self.state.lock();
        state.is_slow = slow;
        state.rare().failures.fail(kind, error);
    }

    /// Records a request that was dropped before its first attempt.
    pub(crate) fn note_never_sent(&self, kind: RequestKind) {
        let error = self.unavailable();
        self.state.lock().rare().failures.fail(kind, error);
    }

    /// Records the verdict of an attempt.
    pub(crate) fn note_verdict(&self, kind: RequestKind, verdict: &Verdict) {
        let now = self.shared.driver.now();
        let mut state = self.lock();
        state.receiver_health.note_verdict(kind, verdict);
        match verdict {
            Verdict::Deny { .. } | Verdict::Retry { .. } => self.begin_outage(&mut state, kind, now),
            Verdict::Fault { .. } => {}
            Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => state.end_outage(kind),
        }
    }

    /// Records that a request waits at an open breaker.
    pub(crate) fn note_breaker_wait(&self, kind: RequestKind) {
        let error = self.unavailable();
        let now = self.shared.driver.now();
        let mut state = self.lock();
        self.begin_outage(&mut state, kind, now);
        state.receiver_health.note_breaker_wait(kind);
        state.rare().failures.note_breaker_wait(kind, error);
    }

    fn unavailable(&self) -> ExportError {
        ExportError::Unavailable {
            url: self.destination.origin.clone(),
        }
    }

    /// Records a refused key. Call after the key's source was read again.
    pub(crate) fn note_refused_key(&self, kind: RequestKind, sent: SentKey, error: &ExportError) {
        let Some(status) = error.key_refusal() else { return };
        let mut state = self.state.lock();
        if sent.is_previous() {
            if let Some(rare) = &mut state.rare {
                rare.key_refusals.refuse_before(kind);
            }
        } else if self.key.is_current(sent.key) {
            // Checked under the lane's lock: if the key changes later, the next key's answer also
            // comes later.
            state.rare().key_refusals.refuse(kind, sent.current, status);
            drop(state);
            self.log_key(kind, true);
        }
    }

    /// Records that the receiver accepted a key.
    pub(crate) fn note_accepted_key(&self, kind: RequestKind, sent: SentKey) {
        let is_late = !sent.is_previous() && !self.key.is_current(sent.key);
        let mut state = self.state.lock();
        let is_over = state.rare.as_mut().and_then(|rare| rare.key_refusals.take(kind, sent));
        drop(state);
        // Without a refusal here, another lane of the selector may have been refused.
        if is_over.unwrap_or(!is_late && !sent.is_previous()) {
            self.log_key(kind, false);
        }
    }

    /// Records a span that the receiver refused in a request of its own, of `bytes`.
    pub(crate) fn note_refused_span(&self, name: &str, ids: (TraceId, SpanId), bytes: usize, reason: DropReason) {
        let refused = RefusedSpan::new(name, ids, bytes, reason, &self.key.key().secret);
        self.state.lock().rare().refused_span = Some(Box::new(refused));
    }

    /// Starts an outage, unless one is in progress.
    fn begin_outage(&self, state: &mut State, kind: RequestKind, now: Instant) {
        let settings = &self.shared.settings;
        match kind {
            RequestKind::Spans if state.outage().is_none() => {
                state.note_full(settings.full_batch());
                let (delay, max_elapsed) = (settings.scheduled_delay, settings.retry.max_elapsed);
                let outage = Outage::new(now, state.due, state.pushed(), delay, max_elapsed);
                state.rare().outage = Some(outage);
            }
            RequestKind::Spans => {}
            RequestKind::SessionEvents => {
                state.events().failing_since.get_or_insert(now);
            }
        }
    }

    /// Returns how much of `max_elapsed` is left for a request of this age. All of it while sending
    /// is paused.
    pub(crate) fn time_left(&self, age: Age, max_elapsed: Duration) -> Duration {
        if self.keeps_data() {
            return max_elapsed;
        }
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        let next = state.spans.taken() + 1;
        let from = match age {
            Age::Queue => state.outage().map(|outage| outage.counts_from(next)),
            Age::Spans(number) => state.outage().map(|outage| outage.counts_from(number)),
            Age::Since(since) => Some(state.resumed().map_or(since, |resumed| resumed.max(since))),
            Age::Event(accepted) => state.events().failing_since.map(|since| since.max(accepted)),
        };
        drop(state);
        let elapsed = from.map_or(Duration::ZERO, |from| now.saturating_duration_since(from));
        max_elapsed.saturating_sub(elapsed)
    }

    /// Returns the age of a request that was just refused. It fixes the start time of a session
    /// event: successes of other sessions end the outage, but must not extend the time of an event
    /// that always fails.
    pub(crate) fn age_after_refusal(&self, age: Age) -> Age {
        let Age::Event(accepted) = age else { return age };
        let since = self.state.lock().events().failing_since;
        Age::Since(since.unwrap_or_else(|| self.shared.driver.now()).max(accepted))
    }

    /// Drops these spans of one batch, and the queued spans that have expired or expire before the
    /// receiver's requested wait ends.
    pub(crate) fn give_up(&self, spans: &[Range<u64>], reason: DropReason, max_elapsed: Duration) {
        let old = self.expiry_cutoff(RequestKind::Spans, max_elapsed);
        let mut state = self.lock();
        if state.schedule == Schedule::Closed {
            return;
        }
        let number = state
            .outage()
            .zip(old)
            .map_or(0, |(outage, old)| outage.older_than(old));
        let count = number.saturating_sub(state.spans.taken()).min(state.spans.len() as u64);
        let queued = state
            .spans
            .take_oldest(usize::try_from(count).unwrap_or(usize::MAX), &self.shared.chunks);
        #[cfg(feature = "spool")]
        let queued_numbers = queued.numbers(&(0..queued.len()));
        if let Some(outage) = state.outage() {
            outage.forget(number);
        }
        let mut freed = queued.bytes();
        state.share.send(freed);
        state.ledger.take(count);
        for spans in spans {
            freed += state.in_flight.complete(spans);
        }
        #[cfg(feature = "spool")]
        let rows = {
            let all = spans.iter().chain(std::iter::once(&queued_numbers));
            all.flat_map(|spans| state.complete_tickets(spans)).collect()
        };
        let in_flight: u64 = spans.iter().map(|spans| spans.end - spans.start).sum();
        state.ledger.drop_in_flight(count + in_flight, reason);
        state.share.complete(freed, &self.shared.budget);
        drop(state);
        #[cfg(feature = "spool")]
        self.complete_rows(rows);
        self.note_fates(&self.trace_keys(|| queued.trace_ids()), Note::Dropped(reason));
        // Log before waking flushes, so that a finished flush implies a logged outcome.
        self.log_outcome(RequestKind::Spans, count + in_flight, Outcome::Dropped(reason));
        self.notify_completed();
        self.shared.chunks.recycle(queued);
    }

    /// Returns the time up to which accepted session events have expired, or `None` if none has.
    pub(crate) fn expired_events_cutoff(&self, max_elapsed: Duration) -> Option<Instant> {
        let old = self.expiry_cutoff(RequestKind::SessionEvents, max_elapsed)?;
        let since = self.state.lock().events().failing_since;
        since.is_some_and(|since| since <= old).then_some(old)
    }

    /// Returns the latest start time that has expired. `None` if `max_elapsed` is zero: each
    /// request is then tried once.
    fn expiry_cutoff(&self, kind: RequestKind, max_elapsed: Duration) -> Option<Instant> {
        if max_elapsed.is_zero() {
            return None;
        }
        let driver = &self.shared.driver;
        let now = driver.now();
        let requested = self
            .breakers
            .chain(kind)
            .own
            .asked_until()
            .filter(|_| !driver.may_pause());
        requested
            .map_or(now, |requested| requested.max(now))
            .checked_sub(max_elapsed)
    }
}
