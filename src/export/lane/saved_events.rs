//! Session events of a lane on their way to disk and back. The session queue owns their content and
//! order.
//!
//! | lane | an accepted event | goes |
//! |---|---|---|
//! | direct | has room in memory | to its session's queue |
//! | direct | has no room | to disk; the lane becomes durable |
//! | durable | | to disk first: then to its session's queue, unless something of the selector is on disk only |
//!
//! As with spans, moves between a lane and the disk happen under the lock of the selector's ledger,
//! then the session queue's, then the lane's.

use std::sync::Arc;

use tracer_registry_spool::{AppendError, Health, Kind, RowId};

use super::durable::unix_millis;
use super::events::{SavedRow, Ticket};
use super::lane::Lane;
use super::state::Schedule;
use crate::config::SpoolMode;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::spool::backlog::{Backlog, Rows};
use crate::ledger::DropReason;

/// Where an accepted session event goes.
pub(crate) enum EventPlace {
    /// To the queue of its session.
    Queue(Ticket),
    /// To disk first.
    Disk(Saving),
}

/// A session event that is being saved.
#[derive(Clone, Copy)]
pub(crate) struct Saving {
    order: u64,
    /// Its room in memory, if there is any.
    ticket: Option<Ticket>,
    /// Whether a client waits for the result. Its event counts once it is on disk.
    is_of_client: bool,
}

/// What became of a session event that was being saved.
pub(crate) enum Settled {
    /// It has to be queued.
    Queue(Ticket),
    /// It is on disk only, or was dropped.
    Gone,
    /// It was not accepted.
    Refused(AppendError),
}

impl Saving {
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    /// Returns whether it has no room in memory.
    pub(crate) fn is_without_room(&self) -> bool {
        self.ticket.is_none()
    }
}

impl Lane {
    /// Returns whether spans of clients go to disk before they are queued.
    #[cfg(feature = "gateway")]
    pub(crate) fn saves_spans(&self) -> bool {
        self.spool.is_some() && self.state.lock_unless_forked().is_some_and(|state| state.is_durable())
    }

    /// Accepts a session event of `bytes`. Data of a client counts once it is safe.
    ///
    /// # Errors
    /// Returns the reason to drop it. Nothing is counted.
    pub(crate) fn place_event(self: &Arc<Self>, bytes: usize, is_of_client: bool) -> Result<EventPlace, DropReason> {
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        self.check_open(&state)?;
        let room = self.reserve_event(&mut state, bytes, now);
        let Some(spool) = &self.spool else {
            let ticket = room.ok_or_else(|| state.receiver_health.drop_reason(RequestKind::SessionEvents))?;
            state.events().enqueue(&ticket);
            return Ok(EventPlace::Queue(ticket));
        };
        let is_failing = spool.health() == Health::Failing;
        let may_save = !is_failing || is_of_client && spool.mode == SpoolMode::Through;
        // Events that are being saved stay in front of later ones.
        let is_durable = state.saves_events() && may_save || state.events().saved.saving > 0;
        if room.is_none() && !may_save {
            return Err(state.receiver_health.drop_reason(RequestKind::SessionEvents));
        }
        let order = spool.next_order(1);
        let events = state.events();
        events.saved.unsaved.insert(order);
        let ticket = room.map(|ticket| ticket.with_order(order));
        match ticket {
            Some(ticket) if !is_durable => {
                events.enqueue(&ticket);
                Ok(EventPlace::Queue(ticket))
            }
            _ => {
                events.saved.saving += 1;
                if let Some(ticket) = ticket.filter(|_| !is_of_client) {
                    events.enqueue(&ticket);
                }
                Ok(EventPlace::Disk(Saving {
                    order,
                    ticket,
                    is_of_client,
                }))
            }
        }
    }

    /// Records that a session event was saved, or not. Runs on a thread of the store, with the ledger
    /// and the session queue locked.
    pub(crate) fn settle_event(
        self: &Arc<Self>,
        saving: Saving,
        result: Result<SavedRow, AppendError>,
        backlog: &mut Backlog,
    ) -> Settled {
        let Saving {
            order,
            ticket,
            is_of_client,
        } = saving;
        let mut state = self.state.lock();
        let Some(spool) = &self.spool else {
            return Settled::Gone;
        };
        let is_open = state.schedule != Schedule::Closed;
        let events = state.events();
        events.saved.saving -= 1;
        let is_counted = ticket.is_some() && !is_of_client;
        let row = match result {
            Ok(row) => row,
            Err(error) => {
                if let Some(ticket) = ticket.filter(|_| is_counted && is_open && stays(&error, backlog)) {
                    return Settled::Queue(ticket);
                }
                events.saved.unsaved.remove(&order);
                if !is_open {
                    return Settled::Refused(error);
                }
                self.free_events(&mut state, ticket.as_slice(), is_counted);
                if is_of_client {
                    return Settled::Refused(error);
                }
                let reason = match &error {
                    AppendError::Erased(_) => DropReason::Purged,
                    AppendError::Full | AppendError::OwnerFull(_) => DropReason::SpoolFull,
                    AppendError::TooLarge { .. } => DropReason::TooLarge,
                    _ => state.receiver_health.drop_reason(RequestKind::SessionEvents),
                };
                let ledger = &mut state.events().ledger;
                if is_counted {
                    ledger.take(1);
                    ledger.drop_in_flight(1, reason);
                } else {
                    ledger.refuse(reason);
                }
                drop(state);
                self.log_refused(RequestKind::SessionEvents, reason);
                return Settled::Gone;
            }
        };
        if !is_open && state.is_purged {
            // The store erases it.
            return Settled::Gone;
        }
        let is_shared = spool.store.is_shared();
        let keeps = !is_shared
            && is_open
            && !self.is_handing_over()
            && self.breakers.chain(RequestKind::SessionEvents).is_ready();
        if let Some(ticket) = ticket.filter(|_| keeps && backlog.is_empty(Kind::SessionEvents)) {
            let ticket = ticket.with_row(row);
            let events = state.events();
            events.saved.unsaved.remove(&order);
            events.saved.rows += 1;
            if is_of_client {
                events.enqueue(&ticket);
            }
            return Settled::Queue(ticket);
        }
        state.events().saved.unsaved.remove(&order);
        if is_open {
            self.free_events(&mut state, ticket.as_slice(), is_counted);
        }
        let ledger = &mut state.events().ledger;
        match (is_counted, is_shared) {
            (true, true) if is_open => ledger.stream(1),
            (true, false) if is_open => ledger.hand_over(1),
            (true, _) => {}
            (false, true) => ledger.accept_streamed(1),
            (false, false) => ledger.accept_spooled(1),
        }
        drop(state);
        if is_shared {
            return Settled::Gone;
        }
        spool.store.release(vec![(row.id, None)]);
        let rows = Rows {
            count: 1,
            bytes: row.bytes,
        };
        backlog.note_handed(Kind::SessionEvents, rows, unix_millis());
        Settled::Gone
    }

    /// Reserves memory for a row that was on disk only. Returns `None` if it has no room. Call with
    /// the ledger locked.
    pub(crate) fn load_event(self: &Arc<Self>, bytes: usize, order: u64, row: SavedRow) -> Option<Ticket> {
        let now = self.shared.driver.now();
        let mut state = self.state.lock();
        self.check_open(&state).ok()?;
        let is_alone = state.events_ledger().pending() == 0;
        let bytes = self.shared.budget.bytes_of_row(bytes, is_alone)?;
        let ticket = self.reserve_event(&mut state, bytes, now)?;
        let ticket = ticket.with_order(order).with_row(row);
        let events = state.events();
        events.ledger.load(1);
        events.note_pending(&ticket);
        events.saved.rows += 1;
        Some(ticket)
    }

    /// Returns the order number of the oldest event in memory that has no row yet.
    pub(super) fn first_unsaved_event(&self) -> u64 {
        self.state.lock().first_unsaved_event().unwrap_or(u64::MAX)
    }

    /// Returns whether new session events go to disk first.
    pub(crate) fn saves_events(&self) -> bool {
        self.state.lock().saves_events()
    }

    /// Returns whether data of the lane may go to disk.
    pub(crate) fn uses_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Leaves events on disk only: those in flight, and those that waited behind them. All of them
    /// have rows. Returns false if the lane is closed.
    pub(crate) fn leave_events(&self, in_flight: &[Ticket], queued: &[Ticket]) -> bool {
        let (Some(ledger), Some(spool)) = (self.selector_ledger(), &self.spool) else {
            return false;
        };
        let asked_until = self.breakers.chain(RequestKind::SessionEvents).own.asked_until();
        let left = ledger.on_disk(|backlog, _| {
            let mut state = self.state.lock();
            if state.schedule == Schedule::Closed {
                return false;
            }
            let ledger = &mut state.events().ledger;
            ledger.hand_over_in_flight(in_flight.len() as u64);
            ledger.hand_over(queued.len() as u64);
            self.free_events(&mut state, in_flight, true);
            self.free_events(&mut state, queued, true);
            let rows: Vec<SavedRow> = in_flight.iter().chain(queued).filter_map(|ticket| ticket.row).collect();
            drop(state);
            spool.store.release(rows.iter().map(|row| (row.id, None)).collect());
            let rows = Rows {
                count: rows.len() as u64,
                bytes: rows.iter().map(|row| row.bytes).sum(),
            };
            backlog.note_released(Kind::SessionEvents, rows, asked_until);
            true
        });
        self.note_events_on_disk(&ledger);
        left
    }

    /// A session begins to leave its events on disk: later ones stay behind them.
    pub(crate) fn begin_leaving(&self) {
        self.state.lock().events().saved.saving += 1;
    }

    /// Ends [`begin_leaving`](Self::begin_leaving).
    pub(crate) fn end_leaving(&self) {
        self.state.lock().events().saved.saving -= 1;
        self.retire_if_done();
    }

    /// Records the row of an event that waited in memory alone.
    pub(crate) fn note_event_row(&self, ticket: &mut Ticket, row: SavedRow) {
        let mut state = self.state.lock();
        if state.schedule != Schedule::Closed {
            let saved = &mut state.events().saved;
            saved.unsaved.remove(&ticket.order);
            saved.rows += 1;
        }
        *ticket = ticket.with_row(row);
    }

    /// Deletes the rows of events with an outcome. Makes new events direct again if nothing is on
    /// disk only.
    pub(super) fn complete_event_rows(&self, events: &[Ticket]) {
        let (Some(ledger), Some(spool)) = (self.selector_ledger(), &self.spool) else {
            return;
        };
        let rows: Vec<RowId> = events.iter().filter_map(|ticket| Some(ticket.row?.id)).collect();
        if !rows.is_empty() {
            spool.store.complete(rows);
        }
        if spool.mode == SpoolMode::Overflow && !self.is_handing_over() {
            ledger.on_disk(|backlog, _| {
                let mut state = self.state.lock();
                let is_saving = state.events().saved.saving > 0;
                if let Some(of_lane) = &mut state.spool
                    && backlog.is_empty(Kind::SessionEvents)
                    && !is_saving
                {
                    of_lane.is_durable[Kind::SessionEvents as usize] = false;
                }
            });
        }
        self.load();
    }

    /// Wakes what waits for events that are on disk only.
    pub(crate) fn note_events_on_disk(&self, ledger: &Arc<SelectorLedger>) {
        ledger.set_durable(Kind::SessionEvents, true);
        self.notify_completed();
        self.load();
        self.retire_if_done();
    }

    /// Returns whether session events of the selector are on disk only.
    pub(crate) fn has_events_on_disk(&self) -> bool {
        let ledger = self.selector_ledger();
        ledger.is_some_and(|ledger| ledger.on_disk(|backlog, _| !backlog.is_empty(Kind::SessionEvents)))
    }

    /// Returns whether what cannot be sent may be left on disk.
    pub(crate) fn may_leave_events(&self) -> bool {
        let spool = self.spool.as_ref();
        spool.is_some_and(|spool| spool.health() != Health::Failing)
    }
}

/// Returns whether an event that cannot be saved waits in memory alone: order is kept unless the
/// disk fails.
fn stays(error: &AppendError, backlog: &Backlog) -> bool {
    match error {
        AppendError::Erased(_) | AppendError::TooLarge { .. } => false,
        AppendError::Failing(_) => true,
        _ => backlog.is_empty(Kind::SessionEvents),
    }
}
