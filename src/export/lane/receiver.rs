//! What a lane learns of its receiver, and how long what waits lives while the receiver fails: the rules are those of outages.

use std::ops::Range;
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::SpanData;

use super::lane::Lane;
use super::state::Outage;
use super::state::{Schedule, State};
use crate::export::accounting::lane_status::{RefusedSpan, RequestKind};
use crate::export::error::ExportError;
use crate::export::keys::key_state::KeyWaiter;
use crate::export::keys::request_key::Sent;
use crate::export::send::outcome::Outcome;
use crate::export::send::verdict::Verdict;
use crate::ledger::DropReason;

/// What the time of a request is counted from, unless an outage began later.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Age {
    /// The first span of the queue was due.
    Queue,
    /// The span before this number was due.
    Spans(u64),
    /// The session event was accepted.
    Event(Instant),
    /// A batch that was set aside was first sent, or a session event was first refused. Successes of others and later outages do not lengthen
    /// its time.
    Since(Instant),
}

impl KeyWaiter for Lane {
    fn take_new_key(&self) {
        self.breakers.note_new_key();
        let mut state = self.state.lock();
        state.standings.forget_refused_key();
        state.wake_retries();
    }
}

impl Lane {
    pub(crate) fn is_suspect(&self) -> bool {
        self.state.lock().suspect
    }

    /// An attempt takes long: what comes next waits in the line of the suspects.
    pub(crate) fn note_slow(&self) {
        self.state.lock().suspect = true;
    }

    /// The receiver took a request, perhaps with a complaint.
    pub(crate) fn note_success(&self, kind: RequestKind, slow: bool, warning: Option<ExportError>) {
        let mut state = self.state.lock();
        state.suspect = slow;
        match warning {
            Some(warning) => state.seldom().failures.fail(kind, warning),
            // Most lanes never failed, and have no such box.
            None => state.seldom.iter_mut().for_each(|seldom| seldom.failures.succeed(kind)),
        }
    }

    /// A quick refusal costs the others nothing, so it makes no suspect: that line may be full of those that hang.
    pub(crate) fn note_failure(&self, kind: RequestKind, slow: bool, error: ExportError) {
        let mut state = self.state.lock();
        state.suspect = slow;
        state.seldom().failures.fail(kind, error);
    }

    /// A request was given up that was never sent.
    pub(crate) fn note_not_asked(&self, kind: RequestKind) {
        let error = self.unavailable();
        self.state.lock().seldom().failures.fail(kind, error);
    }

    /// An attempt is over.
    pub(crate) fn note_verdict(&self, kind: RequestKind, verdict: &Verdict) {
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        state.standings.note_verdict(kind, verdict);
        match verdict {
            Verdict::Deny { .. } | Verdict::Repeat { .. } => self.begin_outage(&mut state, kind, now),
            Verdict::Fault { .. } => {}
            Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => state.end_outage(kind),
        }
    }

    /// A request waits at a breaker.
    pub(crate) fn note_held_up(&self, kind: RequestKind) {
        let error = self.unavailable();
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        self.begin_outage(&mut state, kind, now);
        state.standings.hold_up(kind);
        state.seldom().failures.hold_up(kind, error);
    }

    fn unavailable(&self) -> ExportError {
        ExportError::Unavailable {
            url: self.destination.origin.clone(),
        }
    }

    /// The receiver refused the key of a request, and the key's source was asked since.
    pub(crate) fn note_refused_key(&self, kind: RequestKind, sent: Sent, error: &ExportError) {
        let Some(status) = error.key_refusal() else { return };
        let mut state = self.state.lock();
        if sent.is_before() {
            if let Some(seldom) = &mut state.seldom {
                seldom.key_refusals.refuse_before(kind);
            }
        } else if self.key.is_current(sent.key) {
            // Looked at under the lane's lock: if the key changes later, the answer to the next one comes later too.
            state.seldom().key_refusals.refuse(kind, sent.current, status);
            drop(state);
            self.log_key(kind, true);
        }
    }

    /// The receiver took the key of a request.
    pub(crate) fn note_taken_key(&self, kind: RequestKind, sent: Sent) {
        let is_late = !sent.is_before() && !self.key.is_current(sent.key);
        let mut state = self.state.lock();
        let is_over = state
            .seldom
            .as_mut()
            .and_then(|seldom| seldom.key_refusals.take(kind, sent));
        drop(state);
        // Without a refusal: another lane of the selector may have been refused.
        if is_over.unwrap_or(!is_late && !sent.is_before()) {
            self.log_key(kind, false);
        }
    }

    /// The receiver refused a span that it was sent alone, in a request of so many bytes.
    pub(crate) fn note_refused_span(&self, span: &SpanData, bytes: usize, reason: DropReason) {
        let refused = RefusedSpan::new(span, bytes, reason, &self.key.key().secret);
        self.state.lock().seldom().refused_span = Some(Box::new(refused));
    }

    /// A request has to be repeated, or meets an open breaker.
    fn begin_outage(&self, state: &mut State, kind: RequestKind, now: Instant) {
        let settings = &self.shared.settings;
        match kind {
            RequestKind::Spans if state.outage().is_none() => {
                state.note_full(settings.full_batch());
                let (delay, max_elapsed) = (settings.scheduled_delay, settings.retry.max_elapsed);
                let outage = Outage::new(now, state.due, state.pushed(), delay, max_elapsed);
                state.seldom().outage = Some(outage);
            }
            RequestKind::Spans => {}
            RequestKind::SessionEvents => {
                state.events().failing_since.get_or_insert(now);
            }
        }
    }

    /// How much of its patience is left to what waits for its receiver.
    pub(crate) fn time_left(&self, age: Age, patience: Duration) -> Duration {
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        let next = state.spans.taken() + 1;
        let from = match age {
            Age::Queue => state.outage().map(|outage| outage.counts_from(next)),
            Age::Spans(number) => state.outage().map(|outage| outage.counts_from(number)),
            Age::Since(since) => Some(since),
            Age::Event(accepted) => state.events().failing_since.map(|since| since.max(accepted)),
        };
        drop(state);
        let elapsed = from.map_or(Duration::ZERO, |from| now.saturating_duration_since(from));
        patience.saturating_sub(elapsed)
    }

    /// What the time of a request is counted from that was refused just now. Other sessions of the tracer may be served meanwhile: their
    /// successes end the outage, and not the time of a session event that the receiver always fails on.
    pub(crate) fn age_of_refused(&self, age: Age) -> Age {
        let Age::Event(accepted) = age else { return age };
        let since = self.state.lock().events().failing_since;
        Age::Since(since.unwrap_or_else(|| self.shared.driver.now()).max(accepted))
    }

    /// The time of these spans of one batch is over: they are dropped, and with them all of the queue whose patience is over too, or will be
    /// before the time that the receiver asked for.
    pub(crate) fn give_up(&self, spans: &[Range<u64>], reason: DropReason, patience: Duration) {
        let old = self.too_old(RequestKind::Spans, patience);
        let mut state = self.state.lock();
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
            .take(usize::try_from(count).unwrap_or(usize::MAX), &self.shared.chunks);
        if let Some(outage) = state.outage() {
            outage.forget(number);
        }
        let mut freed = queued.bytes();
        state.share.send(freed);
        state.ledger.take(count);
        for spans in spans {
            freed += state.in_flight.complete(spans);
        }
        let in_flight: u64 = spans.iter().map(|spans| spans.end - spans.start).sum();
        state.ledger.drop_in_flight(count + in_flight, reason);
        state.share.complete(freed, &self.shared.budget);
        drop(state);
        // Before those who flush go on: what they wait for is in the log by then.
        self.log_outcome(RequestKind::Spans, count + in_flight, Outcome::Dropped(reason));
        self.notify_completed();
        self.shared.chunks.give_back(queued);
    }

    /// Session events that were accepted at this moment or before are over too; `None` if none is.
    pub(crate) fn events_too_old(&self, patience: Duration) -> Option<Instant> {
        let old = self.too_old(RequestKind::SessionEvents, patience)?;
        let since = self.state.lock().events().failing_since;
        since.is_some_and(|since| since <= old).then_some(old)
    }

    /// What counts from this moment or an earlier one has no patience left. With none at all, each request is tried once.
    fn too_old(&self, kind: RequestKind, patience: Duration) -> Option<Instant> {
        if patience.is_zero() {
            return None;
        }
        let driver = &self.shared.driver;
        let now = driver.now();
        let asked = self
            .breakers
            .chain(kind)
            .own
            .asked_until()
            .filter(|_| !driver.may_stand_still());
        asked.map_or(now, |asked| asked.max(now)).checked_sub(patience)
    }
}
