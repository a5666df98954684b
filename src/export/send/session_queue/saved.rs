//! Events of a session on their way to disk and back.
//!
//! If the task of a session cannot send, it leaves its events on disk only, and all that wait
//! behind them, and ends. A load queues them again, in order.

#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracer_registry_spool::{AppendError, Kind, Row, RowId, Taken};
use uuid::Uuid;

use super::{Content, Leaving, Pushed, QueuedEvent, SessionQueue, Source, State, tickets};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::lane::Lane;
use crate::export::lane::events::SavedRow;
use crate::export::lane::saved_events::{EventPlace, Saving, Settled};
use crate::export::queue::session_event::SpooledEvent;
use crate::export::send::outcome::Outcome;
use crate::export::spool::row;
use crate::ledger::DropReason;

/// How long events wait at a breaker until they are left on disk.
const LONGEST_BREAKER_WAIT: Duration = Duration::from_secs(1);

/// When events are saved again after the disk was full.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl SessionQueue {
    /// Queues an event, or saves it first. Call with appends locked out.
    pub(super) fn enqueue_spooled(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        mut content: Content,
        bytes: usize,
        source: Source,
        by_id: Option<Arc<Self>>,
    ) -> Result<Pushed, DropReason> {
        let saving = match self.lane.place_event(bytes, source == Source::Client)? {
            EventPlace::Queue(ticket) => {
                let idle = state.push(QueuedEvent { content, ticket, by_id });
                drop(state);
                if idle {
                    self.start(ticket);
                }
                return Ok(Pushed::Now);
            }
            EventPlace::Disk(saving) => saving,
        };
        drop(state);
        let needs_spill = saving.is_without_room();
        let (done, saved) = oneshot::channel();
        let row = self.row(&mut content, by_id.as_ref(), saving.order());
        let (queue, bytes) = (Arc::clone(self), row.body.len() as u64);
        self.lane.append(vec![row], move |result| {
            let row = result.map(|rows| SavedRow { id: rows[0], bytes });
            drop(done.send(queue.settle(content, by_id, saving, row)));
        });
        if needs_spill {
            self.lane.spill(Kind::SessionEvents);
        }
        Ok(match source {
            Source::Program => Pushed::Now,
            Source::Client => Pushed::OnceSaved(saved),
        })
    }

    /// Queues an event that was saved, unless it stays on disk only. Runs on a thread of the store.
    fn settle(
        self: &Arc<Self>,
        content: Content,
        by_id: Option<Arc<Self>>,
        saving: Saving,
        result: Result<SavedRow, AppendError>,
    ) -> Result<(), AppendError> {
        // Without its ledger, the registry is gone.
        let Some(ledger) = self.lane.selector_ledger() else {
            return Ok(());
        };
        let mut started = None;
        let mut queued = Some((content, by_id));
        let settled = ledger.on_disk(|backlog, _| {
            let mut state = self.state.lock();
            let settled = self.lane.settle_event(saving, result, backlog);
            if let (Settled::Queue(ticket), Some((content, by_id))) = (&settled, queued.take()) {
                let ticket = *ticket;
                started = state.push(QueuedEvent { content, ticket, by_id }).then_some(ticket);
            }
            settled
        });
        drop(queued);
        if let Some(ticket) = started {
            self.start(ticket);
        }
        match settled {
            Settled::Queue(_) => Ok(()),
            Settled::Gone => {
                self.lane.note_events_on_disk(&ledger);
                Ok(())
            }
            Settled::Refused(error) => {
                self.lane.retire_if_done();
                Err(error)
            }
        }
    }

    /// Queues events that were on disk only, in this order. Returns the rows without room. Call with
    /// the ledger locked.
    pub(crate) fn push_loaded(lane: &Arc<Lane>, rows: Vec<(SpooledEvent, Taken)>) -> Vec<RowId> {
        let mut without_room = Vec::new();
        for (event, taken) in rows {
            // Those behind it must not overtake it.
            if !without_room.is_empty() || !Self::push_loaded_event(lane, event, &taken) {
                without_room.push(taken.id);
            }
        }
        without_room
    }

    fn push_loaded_event(lane: &Arc<Lane>, spooled: SpooledEvent, taken: &Taken) -> bool {
        let SpooledEvent { id, within, event, .. } = spooled;
        let content = Content {
            event,
            #[cfg(feature = "redact")]
            is_redacted: spooled.is_redacted,
        };
        let session = within.map(|session| Self::of(lane, session));
        let within = session.as_ref().map(Arc::downgrade).unwrap_or_default();
        let of_id = Self::live_or_new(lane, id, &within);
        let (queue, by_id) = match of_id.within.upgrade() {
            Some(session) => (session, Some(of_id)),
            None => (of_id, None),
        };
        let row = SavedRow {
            id: taken.id,
            bytes: taken.body.len() as u64,
        };
        let mut state = queue.state.lock();
        let sender_bytes = if state.running { 0 } else { Self::SENDER_BYTES };
        let Some(ticket) = lane.load_event(content.event.byte_size() + sender_bytes, taken.order, row) else {
            return false;
        };
        let idle = state.push(QueuedEvent { content, ticket, by_id });
        drop(state);
        if idle {
            queue.start(ticket);
        }
        true
    }

    /// Makes the tasks of all sessions of a lane leave on disk only what is not in a request.
    pub(crate) fn leave_waiting(lane: &Lane) {
        for queue in lane.session_queues() {
            if let Ok(queue) = queue.downcast::<Self>() {
                let mut state = queue.state.lock();
                state.leaving = state.running;
            }
        }
    }

    /// Waits until the breakers admit a request. Returns false if that takes too long, or if
    /// everything must be left on disk.
    pub(super) async fn may_send(&self) -> bool {
        let lane = &self.lane;
        if !lane.may_leave_events() {
            return true;
        }
        if self.state.lock().leaving || lane.is_handing_over() {
            return false;
        }
        let breakers = lane.breakers.chain(RequestKind::SessionEvents);
        if breakers.is_ready() {
            return true;
        }
        let ready = pin!(timeout(LONGEST_BREAKER_WAIT, breakers.ready()));
        match select(ready, pin!(lane.interrupted())).await {
            Either::Left((ready, _)) => ready.is_ok(),
            Either::Right(_) => false,
        }
    }

    /// Returns whether events with this outcome may be left on disk.
    pub(super) fn leaves(&self, outcome: Outcome) -> bool {
        outcome == Outcome::HandedOver || outcome.is_expired() && self.lane.may_leave_events()
    }

    /// Leaves events in flight on disk only, and all that wait behind them.
    pub(super) async fn leave(self: &Arc<Self>, events: &mut Vec<QueuedEvent>, outcome: Outcome) -> Leaving {
        // What is closed has counted its events.
        if self.lane.is_closed() || !self.lane.uses_spool() {
            return Leaving::Left;
        }
        // From now on, new events are saved behind these.
        self.lane.spill(Kind::SessionEvents);
        self.lane.begin_leaving();
        let leaving = self.leave_all(events, outcome).await;
        self.lane.end_leaving();
        leaving
    }

    async fn leave_all(self: &Arc<Self>, events: &mut Vec<QueuedEvent>, outcome: Outcome) -> Leaving {
        loop {
            let mut queued: Vec<QueuedEvent> = self.state.lock().waiting.drain(..).collect();
            let saved = self.save(events.iter_mut().chain(&mut queued).collect()).await;
            if let Err(error) = saved {
                self.put_back(queued);
                if events.is_empty() && self.must_wait(&error) {
                    // Older events are on disk only, and must be sent before.
                    let (wait, interrupted) = (sleep(SAVE_AGAIN_AFTER), self.lane.interrupted());
                    select(pin!(wait), pin!(interrupted)).await;
                    continue;
                }
                return self.after_failed_save(events, &error, outcome);
            }
            let are_left = self.lane.leave_events(&tickets(events), &tickets(&queued));
            events.clear();
            if !are_left {
                return Leaving::Left;
            }
            let mut state = self.state.lock();
            if state.waiting.is_empty() {
                *state = State::default();
                return Leaving::Left;
            }
        }
    }

    /// Puts events back in their order. A load may have queued older ones meanwhile.
    fn put_back(&self, events: Vec<QueuedEvent>) {
        let mut state = self.state.lock();
        state.waiting.extend(events);
        let waiting = state.waiting.make_contiguous();
        waiting.sort_by_key(|queued| queued.ticket.order());
    }

    /// Returns whether what cannot be saved now must neither be sent nor dropped.
    fn must_wait(&self, error: &AppendError) -> bool {
        let is_full = matches!(error, AppendError::Full | AppendError::OwnerFull(_) | AppendError::Busy);
        is_full && self.lane.has_events_on_disk() && !self.lane.is_handing_over() && !self.lane.is_closed()
    }

    fn after_failed_save(&self, events: &mut [QueuedEvent], error: &AppendError, outcome: Outcome) -> Leaving {
        match error {
            AppendError::Erased(_) => Leaving::Dropped(Outcome::Dropped(DropReason::Purged)),
            // The end of the shutdown counts what is left.
            _ if self.lane.is_handing_over() => Leaving::Left,
            AppendError::Failing(_) | AppendError::Closed if outcome.is_expired() => Leaving::Dropped(outcome),
            _ => {
                // Otherwise no request would be tried again.
                self.state.lock().leaving = false;
                // The newest data has to be refused, not this.
                let now = self.lane.shared().driver.now();
                for queued in events {
                    queued.ticket.renew(now);
                }
                Leaving::Again
            }
        }
    }

    /// Saves those events that are in memory alone.
    async fn save(&self, mut events: Vec<&mut QueuedEvent>) -> Result<(), AppendError> {
        events.retain(|queued| queued.ticket.unsaved_order().is_some());
        if events.is_empty() {
            return Ok(());
        }
        if self.lane.shares_store() {
            // They were taken into memory while the store failed. Another process would send them
            // too.
            return Err(AppendError::Busy);
        }
        let mut rows: Vec<Row> = Vec::with_capacity(events.len());
        for queued in &mut events {
            let order = queued.ticket.order();
            rows.push(self.row(&mut queued.content, queued.by_id.as_ref(), order));
        }
        let bytes: Vec<u64> = rows.iter().map(|row| row.body.len() as u64).collect();
        let (done, saved) = oneshot::channel();
        self.lane.append(rows, move |result| drop(done.send(result)));
        let rows = saved.await.unwrap_or(Err(AppendError::Closed))?;
        for ((queued, id), bytes) in events.into_iter().zip(rows).zip(bytes) {
            self.lane.note_event_row(&mut queued.ticket, SavedRow { id, bytes });
        }
        Ok(())
    }

    /// Returns the row of an event, which is redacted before.
    fn row(&self, content: &mut Content, by_id: Option<&Arc<Self>>, order: u64) -> Row {
        let (id, within): (Uuid, _) = match by_id {
            Some(by_id) => (by_id.session, Some(self.session)),
            None => (self.session, None),
        };
        content.redact(&self.lane);
        let is_redacted = self.lane.policies.redacts();
        row::of_event(&self.lane.place_at(order), id, within, &content.event, is_redacted)
    }
}
