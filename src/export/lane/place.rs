//! Requests of clients on their way into a lane, and onto the disk.
//!
//! | lane | place |
//! |---|---|
//! | direct, with room | memory |
//! | direct, without room | it spills: disk |
//! | durable, with room, nothing on disk only | memory and disk |
//! | durable otherwise | disk |
//! | the disk fails | `overflow`: as without a spool. `through`: refused |
//!
//! All rows of a request are appended together. Each part is committed once they are on disk, on the
//! thread of the store.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tracer_registry_spool::{Health, Kind, Row, RowId};

use super::durable::unix_millis;
use super::lane::Lane;
use super::payloads::{NoRoom, Room, memory, no_room};
use super::state::State;
use crate::config::SpoolMode;
use crate::export::explain::counts::TraceCounts;
use crate::export::explain::fate::Note;
use crate::export::payload::Payload;
use crate::export::queue::encoded::Encoded;
use crate::export::spool::Spool;
use crate::export::spool::backlog::Rows;
use crate::export::spool::row;
use crate::ledger::DropReason;
use crate::selector::Slug;

/// A part of a request that a lane takes. Dropping it takes that back.
pub(crate) enum Placed {
    Memory(Room),
    Disk(DiskPart),
}

/// A part that the lane takes once it is on disk.
pub(crate) struct DiskPart {
    lane: Arc<Lane>,
    spans: u64,
    /// The request in pieces, each with its order number and the bytes of its row. The payloads are
    /// kept only if they have room in memory.
    pieces: Vec<(Option<Payload>, u64, u64)>,
    /// Bytes that are admitted, if the part has room.
    room: Option<usize>,
    rows: Vec<Row>,
    traces: TraceCounts,
    /// Whether its append has ended.
    is_ended: bool,
}

impl Lane {
    /// Finds a place for a payload. Append the [rows](Placed::take_rows) of all parts of the request
    /// together, then commit each part.
    ///
    /// The tracer's handle must outlive the part, so that the lane is not retired meanwhile.
    pub(crate) fn place(self: &Arc<Self>, payload: Payload) -> Result<Placed, NoRoom> {
        let Some(spool) = self.spool.as_ref().filter(|_| payload.spans() > 0) else {
            return self.reserve(payload).map(Placed::Memory);
        };
        self.check_size(&payload)?;
        if spool.health() == Health::Failing {
            if spool.mode == SpoolMode::Through {
                return Err(NoRoom::Failing);
            }
            return self.reserve(payload).map(Placed::Memory);
        }
        let is_durable = self.state.lock_unless_forked().ok_or(NoRoom::Closed)?.is_durable();
        if !is_durable {
            if spool.mode == SpoolMode::Overflow {
                // A copy shares the bytes.
                match self.try_reserve(payload.clone()) {
                    Err(NoRoom::Full(_)) => {}
                    reserved => return reserved.map(Placed::Memory),
                }
            }
            self.spill(Kind::Spans);
        }
        self.place_on_disk(payload, spool).map(Placed::Disk)
    }

    fn place_on_disk(self: &Arc<Self>, payload: Payload, spool: &Arc<Spool>) -> Result<DiskPart, NoRoom> {
        let settings = &self.shared.settings;
        let ledger = self.selector_ledger().ok_or(NoRoom::Closed)?;
        let is_next = ledger.on_disk(|backlog, _| backlog.is_empty(Kind::Spans));
        let spans = payload.spans();
        let traces = payload.trace_ids(0..spans);
        let traces = TraceCounts::of(&self.trace_keys(|| traces.collect()));
        // A row is never more than a batch, so it is not split when it is sent.
        let pieces = payload.pieces(settings.max_export_batch_size).into_iter();
        let pieces: Vec<_> = pieces
            .flat_map(|piece| piece.parts_within(spool.store.max_body()))
            .collect();
        if pieces.iter().any(|piece| piece.bytes().len() > row::MAX_BYTES) {
            return Err(NoRoom::TooLarge { max: row::MAX_BYTES });
        }
        let bytes = pieces.iter().map(memory).sum();
        let mut state = self.state.lock_unless_forked().ok_or(NoRoom::Closed)?;
        self.stripes.collect(&mut state);
        if state.is_closed() || self.shared.is_closing() {
            return Err(no_room(&state));
        }
        if state.spool.as_ref().is_some_and(|of_lane| of_lane.waits_for_room()) {
            // Newer rows would take the room, and could not be loaded before older spans are saved.
            return Err(NoRoom::Full(DropReason::SpoolFull));
        }
        // What was accepted before has a lower number.
        state.number(|spans| spool.next_order(spans));
        let has_room = is_next && state.reserve(spans, settings.max_queue_size);
        let has_room = has_room && {
            let is_admitted = state.share.admit(bytes, &self.shared.budget);
            if !is_admitted {
                state.reserved -= spans;
            }
            is_admitted
        };
        let Some(of_lane) = &mut state.spool else {
            return Err(NoRoom::Closed);
        };
        of_lane.placing += 1;
        let places: Vec<_> = pieces
            .iter()
            .map(|piece| of_lane.place(spool.next_order(piece.spans() as u64)))
            .collect();
        drop(state);
        let mut part = DiskPart {
            lane: Arc::clone(self),
            spans: spans as u64,
            pieces: Vec::new(),
            room: has_room.then_some(bytes),
            rows: Vec::new(),
            traces,
            is_ended: false,
        };
        for (piece, place) in pieces.into_iter().zip(places) {
            let row = row::of_payload(&place, &piece, false);
            part.pieces
                .push((has_room.then_some(piece), place.order, row.body.len() as u64));
            part.rows.push(row);
        }
        Ok(part)
    }
}

impl Placed {
    /// Returns the rows to append before the commit: none if the part stays in memory.
    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Disk(part) => std::mem::take(&mut part.rows),
        }
    }

    /// Accepts the part of a caller, and counts the spans of its request that were sampled out.
    /// `rows` are the ids of its rows. If the lane was closed meanwhile, spans without rows count as
    /// dropped.
    pub(crate) fn commit(self, sampled_out: u64, caller: Option<&Slug>, rows: &[RowId]) {
        match self {
            Self::Memory(room) => room.commit(sampled_out, caller),
            Self::Disk(part) => part.commit(sampled_out, caller, rows),
        }
    }
}

impl DiskPart {
    fn commit(mut self, sampled_out: u64, caller: Option<&Slug>, rows: &[RowId]) {
        let lane = Arc::clone(&self.lane);
        let (Some(ledger), Some(spool)) = (lane.selector_ledger(), &lane.spool) else {
            return;
        };
        lane.stripes.note_started(self.spans);
        #[cfg(feature = "metrics")]
        lane.left_out.fetch_add(sampled_out, Ordering::Relaxed);
        #[cfg(not(feature = "metrics"))]
        let _ = sampled_out;
        // Before the spans are queued: their outcomes come later.
        lane.note_counts(&self.traces, Note::Accepted(caller));
        let (event, drop_reason, is_on_disk) = ledger.on_disk(|backlog, _| {
            let mut state = lane.lock();
            self.end(&mut state);
            if state.is_purged {
                // The store deletes the rows.
                let reason = state.refusal();
                self.release_room(&mut state);
                state.ledger.refuse_all(self.spans, reason);
                return (None, Some(reason), false);
            }
            if spool.store.is_shared() {
                self.release_room(&mut state);
                state.ledger.accept_streamed(self.spans);
                return (None, None, false);
            }
            if backlog.is_empty(Kind::Spans) && self.stays(&state) {
                self.room = None;
                state.reserved -= usize::try_from(self.spans).unwrap_or(usize::MAX);
                for ((payload, order, row_bytes), row) in self.pieces.drain(..).zip(rows) {
                    let Some(payload) = payload else { continue };
                    let bytes = memory(&payload);
                    state.ledger.enqueue(payload.spans() as u64);
                    state.share.enqueue_admitted(bytes);
                    let spans = Encoded::of_row(payload, false, SystemTime::now());
                    state.push_row((*row, row_bytes), spans, order, bytes);
                }
                return (lane.schedule_direct(&mut state), None, false);
            }
            self.release_room(&mut state);
            state.ledger.accept_spooled(self.spans);
            spool.store.release(rows.iter().map(|row| (*row, None)).collect());
            let handed = Rows {
                count: rows.len() as u64,
                bytes: self.pieces.iter().map(|(_, _, bytes)| bytes).sum(),
            };
            backlog.note_handed(Kind::Spans, handed, unix_millis());
            (None, None, true)
        });
        if let Some(reason) = drop_reason {
            lane.note_counts(&self.traces, Note::Dropped(reason));
        }
        if let Some(event) = event {
            lane.notify(event);
        }
        lane.shared.check_memory_pressure();
        if is_on_disk {
            lane.note_on_disk(&ledger);
        }
    }
}

impl DiskPart {
    /// Returns whether the spans are queued in the room reserved for them: the lane sends them next,
    /// and nothing older waits for the disk.
    fn stays(&self, state: &State) -> bool {
        let is_open = self.room.is_some() && state.is_durable() && !state.is_closed();
        let first = self.pieces.first().map_or(0, |(_, order, _)| *order);
        let unsaved = state.spool.as_ref().and_then(|of_lane| of_lane.first_unsaved());
        is_open && self.lane.may_keep() && unsaved.is_none_or(|unsaved| first < unsaved)
    }

    /// The part is not on its way to disk any more.
    fn end(&mut self, state: &mut State) {
        self.is_ended = true;
        if let Some(of_lane) = &mut state.spool {
            of_lane.placing -= 1;
        }
    }

    /// Releases the room of the part, if it has any.
    fn release_room(&mut self, state: &mut State) {
        let Some(bytes) = self.room.take() else { return };
        if !state.is_closed() {
            state.reserved -= usize::try_from(self.spans).unwrap_or(usize::MAX);
            state.share.release_admitted(bytes, &self.lane.shared.budget);
        }
    }
}

impl Drop for DiskPart {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let lane = Arc::clone(&self.lane);
        if let Some(mut state) = lane.state.lock_unless_forked() {
            self.end(&mut state);
            self.release_room(&mut state);
        }
    }
}
