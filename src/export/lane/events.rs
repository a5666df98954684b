//! The session events of a lane, as its ledger sees them; what they say and in which order they go is the session queue's.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::lane::Lane;
use super::receiver::Age;
use super::state::Schedule;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;

/// What an accepted session event is settled by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The flush that it was accepted before.
    flush: u64,
    bytes: usize,
    /// When it was accepted, on the clock of what moves the tasks.
    at: Instant,
}

impl Ticket {
    /// Whether one of so many flushes waits for the event.
    pub(crate) fn is_before_flush(self, flushes: u64) -> bool {
        self.flush < flushes
    }

    pub(crate) fn age(self) -> Age {
        Age::Event(self.at)
    }

    /// Whether it was accepted by then.
    pub(crate) fn is_as_old_as(self, moment: Instant) -> bool {
        self.at <= moment
    }
}

impl Lane {
    /// Counts a session event in that takes so many bytes; `None` where it is dropped and counted.
    pub(crate) fn accept_event(self: &Arc<Self>, bytes: usize) -> Option<Ticket> {
        let at = self.shared.driver.now();
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.events().ledger.refuse(DropReason::AfterShutdown);
            return None;
        }
        let full = state.events().ledger.queued() >= self.shared.settings.max_queue_size as u64;
        if full || !state.share.accept_event(bytes, &self.shared.budget) {
            let reason = state.standings.no_room(RequestKind::SessionEvents);
            state.events().ledger.refuse(reason);
            drop(state);
            self.log_refused_at_the_door(RequestKind::SessionEvents, reason);
            return None;
        }
        let flush = state.flush;
        let events = state.events();
        events.ledger.enqueue();
        *events.pending.entry(flush).or_default() += 1;
        Some(Ticket { flush, bytes, at })
    }

    /// Session events go out in one request; false where the lane is closed.
    pub(crate) fn take_events(&self, count: usize) -> bool {
        let mut state = self.state.lock();
        let open = state.schedule != Schedule::Closed;
        if open {
            state.events().ledger.take(count as u64);
        }
        open
    }

    /// Whether the lane is closed: what is under way no longer counts, and nothing more is to be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().schedule == Schedule::Closed
    }

    /// The session events of one request have their outcome.
    pub(crate) fn complete_events(&self, events: impl ExactSizeIterator<Item = Ticket>, outcome: Outcome) {
        let count = events.len() as u64;
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed {
            return;
        }
        match outcome {
            Outcome::Delivered { .. } => {
                state.events().ledger.deliver(count);
                state.last_delivery = Some(SystemTime::now());
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => state.events().ledger.drop_in_flight(count, reason),
            // They have none yet.
            Outcome::Faulted => return,
        }
        let mut freed = 0;
        for Ticket { flush, bytes, .. } in events {
            freed += bytes;
            if let Some(left) = state.events().pending.get_mut(&flush) {
                *left -= 1;
                if *left == 0 {
                    state.events().pending.remove(&flush);
                }
            }
        }
        state.share.complete_events(freed, &self.shared.budget);
        drop(state);
        self.log_outcome(RequestKind::SessionEvents, count, outcome);
        self.notify_completed();
        self.retire_if_done();
    }
}
