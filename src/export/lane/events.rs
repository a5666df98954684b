//! Accounting of a lane's session events. The session queue owns their content and order.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use uuid::Uuid;

use super::lane::Lane;
use super::receiver::Age;
use super::state::{Schedule, State};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::send::outcome::Outcome;
use crate::ledger::DropReason;

/// Receipt of an accepted session event, needed to complete it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// Number of flushes when it was accepted.
    flush: u64,
    bytes: usize,
    /// When it was accepted, on the driver's clock.
    at: Instant,
}

impl Ticket {
    /// Returns whether one of the first `flushes` flushes waits for the event.
    pub(crate) fn is_before_flush(self, flushes: u64) -> bool {
        self.flush < flushes
    }

    pub(crate) fn age(self) -> Age {
        Age::Event(self.at)
    }

    /// Returns whether the event was accepted at `moment` or earlier.
    pub(crate) fn was_accepted_by(self, moment: Instant) -> bool {
        self.at <= moment
    }
}

impl Lane {
    /// Returns the live queue of a session. If there is none, registers the one that `create`
    /// returns; `create` must not lock the lane.
    ///
    /// In a forked child, the queue may be unregistered, because nothing is sent there.
    pub(crate) fn session_queue<Q: Any + Send + Sync>(&self, id: Uuid, create: impl FnOnce() -> Arc<Q>) -> Arc<Q> {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return create();
        };
        let queues = &mut state.events().queues;
        let live = queues.get(&id).and_then(Weak::upgrade);
        live.and_then(|queue| queue.downcast().ok()).unwrap_or_else(|| {
            let queue = create();
            queues.insert(id, Arc::downgrade(&queue) as _);
            queue
        })
    }

    /// Removes the entry of a session's queue, unless a live queue has replaced it. Call when the
    /// queue is dropped.
    pub(crate) fn remove_session_queue(&self, id: Uuid) {
        let Some(mut state) = self.state.lock_unless_forked() else {
            return;
        };
        let queues = &mut state.events().queues;
        if queues.get(&id).is_some_and(|queue| queue.strong_count() == 0) {
            queues.remove(&id);
        }
    }

    #[cfg(test)]
    pub(crate) fn session_queue_count(&self) -> usize {
        self.state.lock().events().queues.len()
    }

    /// Accepts a session event of `bytes`.
    ///
    /// # Errors
    /// Returns the reason to drop it. Nothing is counted; see [`drop_event`](Self::drop_event).
    pub(crate) fn accept_event(self: &Arc<Self>, bytes: usize) -> Result<Ticket, DropReason> {
        let at = self.shared.driver.now();
        let mut state = self.state.lock();
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            return Err(DropReason::AfterShutdown);
        }
        let full = state.events().ledger.queued() >= self.shared.settings.max_queue_size as u64;
        let fits = |state: &mut State| state.share.accept_event(bytes, &self.shared.budget);
        // Unused grants of spans do not drop the event.
        let fits = !full && (fits(&mut state) || self.stripes.collect(&mut state) && fits(&mut state));
        if !fits {
            return Err(state.receiver_health.drop_reason(RequestKind::SessionEvents));
        }
        let flush = state.flush;
        let events = state.events();
        events.ledger.enqueue(1);
        *events.pending.entry(flush).or_default() += 1;
        Ok(Ticket { flush, bytes, at })
    }

    /// Counts a session event that was not accepted as dropped.
    pub(crate) fn drop_event(self: &Arc<Self>, reason: DropReason) {
        self.state.lock().events().ledger.refuse(reason);
        if reason != DropReason::AfterShutdown {
            self.log_refused(RequestKind::SessionEvents, reason);
        }
    }

    /// Counts session events as in flight in one request. Returns false if the lane is closed.
    pub(crate) fn take_events(&self, count: usize) -> bool {
        let mut state = self.state.lock();
        let open = state.schedule != Schedule::Closed;
        if open {
            state.events().ledger.take(count as u64);
        }
        open
    }

    /// Returns whether the lane is closed. A closed lane sends nothing and ignores outcomes.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().schedule == Schedule::Closed
    }

    /// Records the outcome of one request's session events.
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
            // No outcome yet.
            Outcome::Faulted | Outcome::HandedOver => return,
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
        #[cfg(feature = "spool")]
        if matches!(outcome, Outcome::Delivered { .. }) {
            self.note_receiver_works(RequestKind::SessionEvents);
        }
        self.retire_if_done();
    }
}
