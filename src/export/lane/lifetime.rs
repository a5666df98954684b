//! How long what waits lives while the receiver fails, and what is dropped together when that is over. The rules are [`outage`](super::outage)'s.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Lane;
use super::outage::Outage;
use super::state::{Schedule, State};
use crate::export::schedule::permits::{Load, gate};
use crate::export::send::deliver::Outcome;
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

impl Lane {
    /// A request has to be repeated, or meets an open breaker.
    pub(super) fn begin_outage(&self, state: &mut State, load: Load, now: Instant) {
        let settings = &self.shared.settings;
        match load {
            Load::Spans if state.outage().is_none() => {
                state.note_full(settings.full_batch());
                let (delay, max_elapsed) = (settings.scheduled_delay, settings.retry.max_elapsed);
                let outage = Outage::new(now, state.due, state.pushed(), delay, max_elapsed);
                state.seldom().outage = Some(outage);
            }
            Load::Spans => {}
            Load::SessionEvent => {
                state.events().failing_since.get_or_insert(now);
            }
        }
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
        let old = self.too_old(Load::Spans, patience);
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
            freed += state.in_flight.settle(spans);
        }
        let in_flight: u64 = spans.iter().map(|spans| spans.end - spans.start).sum();
        state.ledger.drop_in_flight(count + in_flight, reason);
        state.share.settle(freed, &self.shared.budget);
        drop(state);
        // Before those who flush go on: what they wait for is in the log by then.
        self.log_outcome(Load::Spans, count + in_flight, Outcome::Dropped(reason));
        self.notify_completed();
        self.shared.chunks.give_back(queued);
    }

    /// Session events that were accepted at this moment or before are over too; `None` if none is.
    pub(crate) fn events_too_old(&self, patience: Duration) -> Option<Instant> {
        let old = self.too_old(Load::SessionEvent, patience)?;
        let since = self.state.lock().events().failing_since;
        since.is_some_and(|since| since <= old).then_some(old)
    }

    /// What counts from this moment or an earlier one has no patience left. With none at all, each request is tried once.
    fn too_old(&self, load: Load, patience: Duration) -> Option<Instant> {
        if patience.is_zero() {
            return None;
        }
        let driver = &self.shared.driver;
        let now = driver.now();
        let asked = gate(self, load).asked_until().filter(|_| !driver.may_stand_still());
        asked.map_or(now, |asked| asked.max(now)).checked_sub(patience)
    }
}
