//! Accounting of a lane's session events. The session queue owns their content and order.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

#[cfg(feature = "spool")]
use tracer_registry_spool::RowId;
use uuid::Uuid;

use super::lane::Lane;
use super::receiver::Age;
use super::state::{Schedule, SessionEvents, State};
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
    /// Its place in the order of the selector's rows. 0 without a spool.
    #[cfg(feature = "spool")]
    pub(super) order: u64,
    /// Its row, if it is on disk too.
    #[cfg(feature = "spool")]
    pub(super) row: Option<SavedRow>,
}

/// A row of an event that is also in memory.
#[cfg(feature = "spool")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedRow {
    pub(crate) id: RowId,
    /// Bytes of its body.
    pub(crate) bytes: u64,
}

#[cfg(feature = "spool")]
impl Ticket {
    pub(crate) fn order(self) -> u64 {
        self.order
    }

    /// Returns the order number of an event that is in memory alone.
    pub(crate) fn unsaved_order(self) -> Option<u64> {
        self.row.is_none().then_some(self.order)
    }

    /// Gives the event a place in the order of the selector's rows.
    pub(super) fn with_order(self, order: u64) -> Self {
        Self { order, ..self }
    }

    /// Adds the event's row.
    pub(super) fn with_row(self, row: SavedRow) -> Self {
        Self { row: Some(row), ..self }
    }

    /// Gives the event its full retry time again.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.at = now;
    }
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

impl SessionEvents {
    /// Counts an event as queued.
    pub(super) fn enqueue(&mut self, ticket: &Ticket) {
        self.ledger.enqueue(1);
        self.note_pending(ticket);
    }

    /// Makes flushes wait for an event.
    pub(super) fn note_pending(&mut self, ticket: &Ticket) {
        *self.pending.entry(ticket.flush).or_default() += 1;
    }

    fn forget(&mut self, ticket: &Ticket) {
        if let Some(left) = self.pending.get_mut(&ticket.flush) {
            *left -= 1;
            if *left == 0 {
                self.pending.remove(&ticket.flush);
            }
        }
        #[cfg(feature = "spool")]
        match ticket.row {
            Some(_) => self.saved.rows -= 1,
            None => drop(self.saved.unsaved.remove(&ticket.order)),
        }
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

    /// Returns the live queues of all sessions.
    #[cfg(feature = "spool")]
    pub(crate) fn session_queues(&self) -> Vec<Arc<dyn Any + Send + Sync>> {
        let mut state = self.state.lock();
        let queues = state.events().queues.values();
        queues.filter_map(Weak::upgrade).collect()
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
        self.check_open(&state)?;
        let room = self.reserve_event(&mut state, bytes, at);
        let ticket = room.ok_or_else(|| state.receiver_health.drop_reason(RequestKind::SessionEvents))?;
        state.events().enqueue(&ticket);
        Ok(ticket)
    }

    /// Returns why the lane takes no data, if it takes none.
    pub(super) fn check_open(&self, state: &State) -> Result<(), DropReason> {
        if state.schedule == Schedule::Closed {
            return Err(state.refusal());
        }
        if self.shared.is_closing() {
            return Err(DropReason::AfterShutdown);
        }
        Ok(())
    }

    /// Reserves memory for a session event. Returns `None` if it does not fit.
    pub(super) fn reserve_event(&self, state: &mut State, bytes: usize, at: Instant) -> Option<Ticket> {
        let full = state.events().ledger.queued() >= self.shared.settings.max_queue_size as u64;
        let fits = |state: &mut State| state.share.accept_event(bytes, &self.shared.budget);
        // Unused grants of spans do not drop the event.
        let fits = !full && (fits(state) || self.stripes.collect(state) && fits(state));
        fits.then_some(Ticket {
            flush: state.flush,
            bytes,
            at,
            #[cfg(feature = "spool")]
            order: 0,
            #[cfg(feature = "spool")]
            row: None,
        })
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
    pub(crate) fn complete_events(&self, events: &[Ticket], outcome: Outcome) {
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
        self.free_events(&mut state, events, true);
        #[cfg(feature = "spool")]
        let has_rows = state.saves_events() || events.iter().any(|ticket| ticket.row.is_some());
        drop(state);
        #[cfg(feature = "spool")]
        if has_rows {
            self.complete_event_rows(events);
        }
        self.log_outcome(RequestKind::SessionEvents, count, outcome);
        self.notify_completed();
        #[cfg(feature = "spool")]
        if matches!(outcome, Outcome::Delivered { .. }) {
            self.note_receiver_works(RequestKind::SessionEvents);
        }
        self.retire_if_done();
    }

    /// Frees the memory of events that leave it. Flushes do not wait for those that are counted.
    pub(super) fn free_events(&self, state: &mut State, events: &[Ticket], are_counted: bool) {
        let mut freed = 0;
        for ticket in events {
            freed += ticket.bytes;
            if are_counted {
                state.events().forget(ticket);
            }
        }
        state.share.complete_events(freed, &self.shared.budget);
    }
}
