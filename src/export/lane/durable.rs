//! Spans of a lane on their way to disk and back.
//!
//! | lane | event | next |
//! |---|---|---|
//! | direct | [`spill`](Lane::spill): a request waited at a breaker, the lane is nearly full, a shutdown | durable: queued spans are staged |
//! | direct | a tracer is created for a selector that has rows on disk only | durable |
//! | durable | staged spans are due | they are saved: queued with their rows, or on disk only |
//! | durable | `spill`, a newer tracer of the selector, a pause | same; queued spans are on disk only |
//! | durable, `overflow` | nothing is on disk only or being saved, the breakers are ready, the lane holds little | direct: staged spans are queued |
//! | durable | the disk fails | direct |
//!
//! In the mode `through`, a lane is durable unless the disk fails. All spans that a durable lane
//! sends have rows. Spans with rows in memory are older than rows on disk only, and those are older
//! than staged spans.
//!
//! Moves between a lane and the disk happen under the lock of the selector's ledger, then the
//! lane's. Nothing under these locks waits for the store.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracer_registry_spool::{AppendError, Health, Kind, Rest, Row, RowId, Taken};

use super::lane::Lane;
use super::state::{MakeEvent, State, TicketPart};
use crate::config::SpoolMode;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::accounting::selector_ledger::SelectorLedger;
use crate::export::payload::Payload;
use crate::export::queue::encoded::Encoded;
use crate::export::queue::span_queue::Batch;
use crate::export::schedule::engine_event::{Cause, EngineEvent};
use crate::export::send::outcome::Outcome;
use crate::export::spool::Spool;
use crate::export::spool::backlog::Rows;
use crate::export::spool::row::Place;
use crate::ledger::DropReason;

/// Most bytes of queued spans of a durable lane that loads.
const WINDOW: usize = 1 << 20;

/// Staged spans that became one row.
pub(crate) struct Piece {
    pub(crate) payload: Payload,
    /// Whether the spans are finished for export.
    pub(crate) is_finished: bool,
    pub(crate) order: u64,
    /// Bytes of the row's body.
    pub(crate) row_bytes: u64,
}

/// What saving does next.
#[derive(Debug)]
pub(crate) enum Saved {
    /// Go on with the next batch.
    Next,
    /// Wait so long: the disk has no room, or is busy.
    Later(Duration),
}

impl Lane {
    /// Schedules spans that were queued or staged. Returns the event if the schedule changed, or if
    /// the lane must spill.
    pub(super) fn schedule_spooled(&self, state: &mut State) -> Option<MakeEvent> {
        let settings = &self.shared.settings;
        if state.is_durable()
            && let Some(spool) = &mut state.spool
        {
            return spool.note_staged(settings.full_batch(), settings.scheduled_delay);
        }
        let event = self.schedule_direct(state);
        if !self.must_spill(state) {
            return event;
        }
        if let Some(spool) = &mut state.spool {
            spool.wants_spill = true;
        }
        state.make_due();
        Some(EngineEvent::Ready)
    }

    /// Returns whether a direct lane must become durable, and the engine does not know it yet.
    fn must_spill(&self, state: &State) -> bool {
        let Some(spool) = &self.spool else { return false };
        let is_known = state.spool.as_ref().is_some_and(|of_lane| of_lane.wants_spill);
        let is_wanted = spool.mode == SpoolMode::Through || self.is_nearly_full(state, 3);
        is_wanted && !is_known && spool.health() != Health::Failing
    }

    /// Returns whether this many quarters of the queue are in use, or the lane holds too much memory.
    fn is_nearly_full(&self, state: &State, quarters: usize) -> bool {
        let (settings, budget) = (&self.shared.settings, &self.shared.budget);
        let is_full = state.held() * 4 >= settings.max_queue_size * quarters;
        is_full || state.share.is_near_limit(budget) || state.share.is_pressed(budget)
    }

    /// Returns whether a staged span would take memory that loads need.
    pub(super) fn is_reserved_for_loads(&self, state: &State) -> bool {
        state.is_durable() && state.share.is_near_limit(&self.shared.budget)
    }

    /// Stops keeping in memory what can be on disk: makes the lanes of the selector durable, and
    /// releases queued spans of this lane that have rows. Does nothing and returns false if the disk
    /// fails, or nothing of the lane goes there.
    pub(crate) fn spill(self: &Arc<Self>, kind: Kind) -> bool {
        let is_failing = |spool: &Arc<Spool>| spool.health() == Health::Failing;
        if self.spool.as_ref().is_none_or(is_failing) {
            return false;
        }
        let Some(ledger) = self.selector_ledger() else {
            return false;
        };
        ledger.set_durable(kind, true);
        self.release_queued(kind);
        true
    }

    /// Makes new data of a kind go to disk first, and what is queued too. Call with the selector's
    /// ledger locked.
    pub(super) fn become_durable(self: &Arc<Self>, kind: Kind) {
        let Some(spool) = &self.spool else { return };
        let mut state = self.lock();
        if kind == Kind::SessionEvents {
            if let Some(of_lane) = &mut state.spool {
                of_lane.is_durable[kind as usize] = true;
            }
            return;
        }
        state.stage(|spans| spool.next_order(spans));
        let event = state.spool.as_mut().and_then(|of_lane| of_lane.make_due());
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
    }

    /// Ends [`become_durable`](Self::become_durable), unless the mode is `through`, or data is on its
    /// way to disk. Call with the selector's ledger locked.
    pub(super) fn become_direct(self: &Arc<Self>, kind: Kind) {
        if self.spool.as_ref().is_none_or(|spool| spool.mode == SpoolMode::Through) {
            return;
        }
        let may = kind == Kind::Spans && self.may_send_soon();
        let mut state = self.lock();
        let event = match kind {
            Kind::Spans if may && !self.is_nearly_full(&state, 2) && state.unstage() => {
                self.schedule_unstaged(&mut state)
            }
            Kind::Spans => None,
            Kind::SessionEvents => {
                if let Some(of_lane) = &mut state.spool {
                    of_lane.is_durable[kind as usize] = false;
                }
                None
            }
        };
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
    }

    /// Frees the memory of queued data that has rows.
    pub(super) fn release_queued(&self, kind: Kind) {
        if kind == Kind::SessionEvents {
            return;
        }
        let (Some(ledger), Some(spool)) = (self.selector_ledger(), &self.spool) else {
            return;
        };
        let asked_until = self.breakers.chain(RequestKind::Spans).own.asked_until();
        let released = ledger.on_disk(|backlog, _| {
            let released = self.lock().release(&self.shared.budget);
            if released.rows.is_empty() {
                return released;
            }
            let rows = released.rows.iter();
            spool.store.release(rows.map(|row| (*row, None)).collect());
            let rows = Rows {
                count: released.rows.len() as u64,
                bytes: released.bytes,
            };
            backlog.note_released(kind, rows, asked_until);
            released
        });
        if !released.rows.is_empty() {
            self.notify_completed();
            self.note_on_disk(&ledger);
        }
    }

    /// Makes a durable lane direct, if the mode allows it and nothing prevents it.
    pub(super) fn try_direct(self: &Arc<Self>) -> bool {
        let Some(ledger) = self.selector_ledger().filter(|_| self.may_send_soon()) else {
            return false;
        };
        let event = ledger.on_disk(|backlog, _| {
            let mut state = self.lock();
            if !backlog.is_empty(Kind::Spans) || self.is_nearly_full(&state, 2) || !state.unstage() {
                return None;
            }
            Some(self.schedule_unstaged(&mut state))
        });
        if let Some(Some(event)) = event {
            self.notify(event);
        }
        event.is_some()
    }

    /// Returns whether spans need not go to disk: the mode is `overflow`, and they can be sent soon.
    fn may_send_soon(&self) -> bool {
        let mode = self.spool.as_ref().map(|spool| spool.mode);
        mode == Some(SpoolMode::Overflow) && self.may_keep() && self.breakers.chain(RequestKind::Spans).is_ready()
    }

    /// Schedules spans that were staged, and wait to be sent now.
    fn schedule_unstaged(&self, state: &mut State) -> Option<MakeEvent> {
        if state.spans.is_empty() {
            return None;
        }
        self.note_queued(state);
        let event = state.make_ready();
        self.note_due(state);
        event
    }

    /// Returns the order number of a flush: all spans in memory have lower ones.
    pub(super) fn order_of_flush(&self, state: &mut State) -> u64 {
        let Some(spool) = &self.spool else { return 0 };
        state.number(|spans| spool.next_order(spans));
        spool.next_order(1)
    }

    /// Starts saving staged spans, if their schedule allows it for this cause. Spills first, if the
    /// lane wants to.
    pub(crate) fn start_saving(self: &Arc<Self>, cause: Cause) -> bool {
        let mut state = self.lock();
        let Some(spool) = &mut state.spool else { return false };
        if std::mem::take(&mut spool.wants_spill) {
            drop(state);
            self.spill(Kind::Spans);
            state = self.lock();
        }
        let spool = state.spool.as_mut();
        spool.is_some_and(|spool| spool.start(cause))
    }

    /// Takes the next staged batch that is due, to save it. Ends saving if there is none.
    pub(crate) fn take_staged(self: &Arc<Self>) -> Option<Batch> {
        self.try_direct();
        let settings = &self.shared.settings;
        let limits = (
            settings.max_export_batch_size,
            settings.full_batch(),
            settings.scheduled_delay,
        );
        let spool = self.spool.as_ref()?;
        let mut state = self.lock();
        if state.is_closed() {
            return None;
        }
        let of_lane = state.spool.as_mut()?;
        let event = match of_lane.take(limits, &self.shared.chunks, |spans| spool.next_order(spans)) {
            Ok(batch) => return Some(batch),
            Err(event) => event,
        };
        drop(state);
        if let Some(event) = event {
            self.notify(event);
        }
        None
    }

    /// Returns where a row with this order number belongs.
    pub(crate) fn place_at(&self, order: u64) -> Place {
        let state = self.state.lock();
        state
            .spool
            .as_ref()
            .expect("only lanes with a spool have rows")
            .place(order)
    }

    /// Returns whether other processes share the store, so that appended rows are theirs as well.
    pub(crate) fn shares_store(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| spool.store.is_shared())
    }

    /// Returns the bytes of a body above which spans become two rows.
    pub(crate) fn max_row(&self) -> usize {
        const MAX_ROW: usize = 1 << 20;
        self.spool
            .as_ref()
            .map_or(MAX_ROW, |spool| spool.store.max_body().min(MAX_ROW))
    }

    /// Appends rows to the store.
    pub(crate) fn append(&self, rows: Vec<Row>, done: impl FnOnce(Result<Vec<RowId>, AppendError>) + Send + 'static) {
        if let Some(spool) = &self.spool {
            spool.store.append(rows, Box::new(done));
        }
    }

    /// Drops the batch that is being saved, because it cannot be encoded.
    pub(crate) fn drop_saving(&self) {
        let mut state = self.lock();
        let Some(saving) = state.spool.as_mut().and_then(|of_lane| of_lane.saving.take()) else {
            return;
        };
        if !state.is_closed() {
            state.drop_queued(&saving, DropReason::Encoding, &self.shared.budget);
        }
        drop(state);
        self.log_outcome(RequestKind::Spans, saving.spans, Outcome::Dropped(DropReason::Encoding));
        self.notify_completed();
        self.retire_if_done();
    }

    /// Records that a staged batch was saved, or not. Runs on a thread of the store.
    pub(crate) fn note_saved(self: &Arc<Self>, pieces: Vec<Piece>, result: Result<Vec<RowId>, AppendError>) -> Saved {
        let (Some(ledger), Some(spool)) = (self.selector_ledger(), &self.spool) else {
            return Saved::Next;
        };
        let (event, saved, is_on_disk) = ledger.on_disk(|backlog, _| {
            let mut state = self.lock();
            let Some(of_lane) = &mut state.spool else {
                return (None, Saved::Next, false);
            };
            let Some(saving) = of_lane.saving.take() else {
                return (None, Saved::Next, false);
            };
            of_lane.note_full_disk(matches!(result, Err(AppendError::Full | AppendError::OwnerFull(_))));
            if state.is_closed() {
                return (None, Saved::Next, false);
            }
            match result {
                Ok(_) if spool.store.is_shared() => {
                    state.ledger.stream(saving.spans);
                    state.share.discard(saving.bytes, &self.shared.budget);
                    (None, Saved::Next, false)
                }
                Ok(rows) if self.keeps(&state) && backlog.is_empty(Kind::Spans) => {
                    self.queue_pieces(&mut state, pieces, rows, saving.bytes);
                    (self.schedule_unstaged(&mut state), Saved::Next, false)
                }
                Ok(rows) => {
                    state.ledger.hand_over(saving.spans);
                    state.share.discard(saving.bytes, &self.shared.budget);
                    spool.store.release(rows.iter().map(|row| (*row, None)).collect());
                    let rows = Rows {
                        count: rows.len() as u64,
                        bytes: pieces.iter().map(|piece| piece.row_bytes).sum(),
                    };
                    backlog.note_handed(Kind::Spans, rows, unix_millis());
                    (None, Saved::Next, true)
                }
                Err(AppendError::Erased(_)) => {
                    state.drop_queued(&saving, DropReason::Purged, &self.shared.budget);
                    (None, Saved::Next, false)
                }
                // It would be refused on each attempt.
                Err(AppendError::TooLarge { .. }) => {
                    state.drop_queued(&saving, DropReason::TooLarge, &self.shared.budget);
                    (None, Saved::Next, false)
                }
                Err(error) => {
                    self.stage_again(&mut state, pieces, saving.bytes);
                    if matches!(error, AppendError::Failing(_)) && state.unstage() {
                        return (self.schedule_unstaged(&mut state), Saved::Next, false);
                    }
                    (None, Saved::Later(wait_after(&error)), false)
                }
            }
        });
        if let Some(event) = event {
            self.notify(event);
        }
        self.notify_completed();
        if is_on_disk {
            self.note_on_disk(&ledger);
        }
        self.retire_if_done();
        saved
    }

    /// Returns whether saved spans stay in memory: they can be sent soon, and there is room.
    fn keeps(&self, state: &State) -> bool {
        self.may_keep() && self.breakers.chain(RequestKind::Spans).is_ready() && !self.is_nearly_full(state, 3)
    }

    /// Returns whether saved spans may stay in memory.
    pub(super) fn may_keep(&self) -> bool {
        !self.is_paused() && !self.is_handing_over()
    }

    /// Queues saved pieces of a batch that had `bytes`.
    fn queue_pieces(&self, state: &mut State, pieces: Vec<Piece>, rows: Vec<RowId>, bytes: usize) {
        let mut left = bytes;
        for (piece, row) in pieces.into_iter().zip(rows) {
            let (spans, of_piece) = piece.spans(&mut left);
            state.push_row((row, piece.row_bytes), spans, piece.order, of_piece);
        }
        state.share.discard(left, &self.shared.budget);
    }

    /// Stages pieces of a batch again, in front of all others.
    fn stage_again(&self, state: &mut State, pieces: Vec<Piece>, bytes: usize) {
        let mut left = bytes;
        let spans: Vec<_> = pieces
            .into_iter()
            .map(|piece| (piece.spans(&mut left), piece.order))
            .collect();
        if let Some(of_lane) = &mut state.spool {
            for ((spans, of_piece), order) in spans.into_iter().rev() {
                of_lane.put_back(spans, order, of_piece);
            }
        }
        state.share.discard(left, &self.shared.budget);
    }

    /// Returns the bytes that the lane may load, or `None` if it may not load at all.
    pub(super) fn room_for_loads(&self) -> Option<usize> {
        let state = self.lock();
        let has_room = state.spans.len() < 2 * self.shared.settings.max_export_batch_size;
        let is_open = state.spool.is_some() && !state.is_closed() && !self.is_handing_over();
        (is_open && has_room).then(|| WINDOW.saturating_sub(state.spans.bytes() + state.share.events()))
    }

    /// Returns the order number that all rows older than the spans without a row are below.
    pub(super) fn first_unsaved_span(&self) -> u64 {
        let state = self.lock();
        let first = state.spool.as_ref().and_then(|of_lane| of_lane.first_to_wait_for());
        // Staged spans without a number get a larger one.
        let next = || self.spool.as_ref().map_or(u64::MAX, |spool| spool.next_order(1));
        first.unwrap_or_else(next)
    }

    /// Queues rows that were on disk only. Returns those without room. Call with the selector's
    /// ledger locked.
    pub(super) fn queue_loaded(self: &Arc<Self>, rows: Vec<(Payload, bool, Taken)>) -> Vec<RowId> {
        let settings = &self.shared.settings;
        let mut state = self.lock();
        let mut refused = Vec::new();
        let is_open = !state.is_closed();
        if let Some(spool) = self.spool.as_ref().filter(|_| is_open) {
            // What is queued is newer.
            state.stage(|spans| spool.next_order(spans));
        }
        for (payload, is_finished, row) in rows {
            let spans = payload.spans();
            let is_first = state.spans.is_empty();
            let is_alone = is_first && state.in_flight.batches() == 0;
            let bytes = self.shared.budget.bytes_of_row(payload.byte_size(), is_alone);
            let has_room = is_first || state.spans.len() + spans <= 2 * settings.max_export_batch_size.max(spans);
            let Some(spool) = self.spool.as_ref().filter(|_| is_open) else {
                refused.push(row.id);
                continue;
            };
            let bytes = bytes.filter(|_| refused.is_empty() && has_room);
            let Some(bytes) = bytes.filter(|bytes| state.share.enqueue(*bytes, &self.shared.budget)) else {
                refused.push(row.id);
                continue;
            };
            state.ledger.load(spans as u64);
            let accepted = UNIX_EPOCH + Duration::from_millis(row.created);
            let spans = Encoded::of_row(payload, is_finished, accepted).loaded_at(spool.next_order(1));
            state.push_row((row.id, row.body.len() as u64), spans, row.order, bytes);
        }
        let event = self.schedule_unstaged(&mut state);
        let staged = state.spool.as_mut().and_then(|of_lane| of_lane.make_due());
        drop(state);
        if let Some(event) = event.or(staged) {
            self.notify(event);
        }
        refused
    }

    /// Deletes rows of which all spans have an outcome.
    pub(super) fn complete_rows(&self, rows: Vec<RowId>) {
        let Some(spool) = &self.spool else { return };
        if !rows.is_empty() {
            spool.store.complete(rows);
            self.load();
        }
    }

    /// Returns the rows of spans in flight, and which of the spans are theirs.
    pub(crate) fn ticket_parts(&self, numbers: &Range<u64>) -> Vec<TicketPart> {
        let state = self.state.lock();
        let parts = state.spool.as_ref().map(|of_lane| of_lane.tickets.parts(numbers));
        parts.unwrap_or_default()
    }

    /// Counts spans in flight as on disk only, and gives their rows back to the disk: rows that they
    /// had, with what is left of them, and rows that were appended for the others. `bytes` are those
    /// of all these rows.
    pub(crate) fn leave_on_disk(
        self: &Arc<Self>,
        spans: &[Range<u64>],
        mut rows: Vec<(RowId, Option<Rest>)>,
        bytes: u64,
    ) {
        let (Some(ledger), Some(spool)) = (self.selector_ledger(), &self.spool) else {
            return;
        };
        let asked_until = self.breakers.chain(RequestKind::Spans).own.asked_until();
        let (done, event) = ledger.on_disk(|backlog, _| {
            let mut state = self.lock();
            if state.is_closed() {
                return (Vec::new(), None);
            }
            // What is queued is newer, so it must not be sent before.
            state.stage(|spans| spool.next_order(spans));
            let released = state.release(&self.shared.budget);
            let event = state.spool.as_mut().and_then(|of_lane| of_lane.make_due());
            let (mut freed, mut done) = (0, Vec::new());
            for spans in spans {
                freed += state.in_flight.complete(spans);
                state.ledger.hand_over_in_flight(spans.end - spans.start);
                if let Some(of_lane) = &mut state.spool {
                    done.extend(of_lane.tickets.complete(spans));
                }
            }
            state.share.complete(freed, &self.shared.budget);
            done.retain(|row| rows.iter().all(|(released, _)| released != row));
            rows.extend(released.rows.into_iter().map(|row| (row, None)));
            let count = rows.len() as u64;
            let bytes = bytes + released.bytes;
            spool.store.release(rows);
            backlog.note_released(Kind::Spans, Rows { count, bytes }, asked_until);
            (done, event)
        });
        if let Some(event) = event {
            self.notify(event);
        }
        self.complete_rows(done);
        self.notify_completed();
        self.note_on_disk(&ledger);
        self.retire_if_done();
    }

    /// Makes the other lanes of the selector durable too, because rows are on disk only, and loads
    /// them if it is time to.
    pub(super) fn note_on_disk(&self, ledger: &Arc<SelectorLedger>) {
        ledger.set_durable(Kind::Spans, true);
        self.load();
    }
}

/// Returns how long to wait until an append is repeated.
pub(crate) fn wait_after(error: &AppendError) -> Duration {
    if matches!(error, AppendError::Busy) {
        Duration::from_millis(50)
    } else {
        Duration::from_secs(1)
    }
}

/// Returns the milliseconds since 1970.
pub(super) fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Piece {
    /// Returns the spans for a queue, and their bytes: at most what is left of their batch.
    fn spans(&self, left: &mut usize) -> (Encoded, usize) {
        let bytes = self.payload.byte_size().min(*left);
        *left -= bytes;
        let spans = Encoded::of_row(self.payload.clone(), self.is_finished, SystemTime::now());
        (spans, bytes)
    }
}
