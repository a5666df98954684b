//! The session events of a lane, as its ledger sees them; what they say and in which order they go is the outbox's.

use std::time::SystemTime;

use super::super::deliver::Outcome;
use super::Lane;
use super::state::Schedule;
use crate::ledger::DropReason;

impl Lane {
    /// Counts a session event in; the number to settle it by, or `None` where it is dropped and counted.
    pub(in super::super) fn accept_event(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            state.events().ledger.refuse(DropReason::AfterShutdown);
            return None;
        }
        if state.events().ledger.queued() >= self.shared.settings.max_queue_size as u64 {
            state.events().ledger.refuse(DropReason::QueueFull);
            return None;
        }
        let flush = state.flush;
        let events = state.events();
        events.ledger.enqueue();
        *events.unsettled.entry(flush).or_default() += 1;
        Some(flush)
    }

    /// Session events go out in one request; false where the lane is closed.
    pub(in super::super) fn take_events(&self, count: usize) -> bool {
        let mut state = self.lock();
        let open = state.schedule != Schedule::Closed;
        if open {
            state.events().ledger.take(count as u64);
        }
        open
    }

    /// The lane's books are closed: what is under way no longer counts, and nothing more is to be sent.
    pub(in super::super) fn is_closed(&self) -> bool {
        self.lock().schedule == Schedule::Closed
    }

    /// The session events of one request have their outcome; each is named by the number that it was accepted with.
    pub(in super::super) fn settle_events(&self, flushes: impl ExactSizeIterator<Item = u64>, outcome: Outcome) {
        let count = flushes.len() as u64;
        let mut state = self.lock();
        if state.schedule == Schedule::Closed {
            return;
        }
        match outcome {
            Outcome::Delivered { .. } => {
                state.events().ledger.deliver(count);
                state.last_delivery = Some(SystemTime::now());
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => state.events().ledger.drop_in_flight(count, reason),
        }
        for flush in flushes {
            if let Some(left) = state.events().unsettled.get_mut(&flush) {
                *left -= 1;
                if *left == 0 {
                    state.events().unsettled.remove(&flush);
                }
            }
        }
        drop(state);
        self.settled.notify_all();
        self.retire_if_done();
    }
}
