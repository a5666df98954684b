//! Encoded spans on their way into a lane.
//!
//! Of a request with parts for several lanes, all parts are queued or none. So room is reserved in
//! each lane before the first part is queued.

use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::atomic::Ordering;

use super::lane::Lane;
use super::state::{Schedule, State};
use crate::config::Protocol;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::explain::counts::TraceCounts;
use crate::export::explain::fate::Note;
use crate::export::payload::Payload;
use crate::ledger::DropReason;
use crate::selector::Slug;

/// Spans that a queued payload may have if a batch has fewer. Each batch walks over its payload.
const MAX_SPANS: usize = 8192;

/// Room in a lane for the spans of a payload. Dropping it releases the room.
pub(crate) struct Room {
    lane: Arc<Lane>,
    /// The payload, in pieces if it is large. Empty once they are queued.
    pieces: Vec<Payload>,
    bytes: usize,
}

/// Why a lane does not take a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The registry is shut down, or this process is a fork of its process.
    Closed,
    /// The data of the selector was erased.
    Erased,
    /// The disk fails, and all data must be on disk.
    #[cfg_attr(not(feature = "spool"), expect(dead_code, reason = "there is no disk"))]
    Failing,
    /// The queue is full, or its share of the memory is used up.
    Full(DropReason),
    /// Larger than the share of memory that a lane may ever have.
    TooLarge { max: usize },
    /// The lane sends JSON.
    Json,
}

impl Lane {
    /// Reserves room for a payload. A lane with an empty queue has room for any number of spans.
    ///
    /// The tracer's handle must outlive the room, so that the lane is not retired meanwhile.
    pub(crate) fn reserve(self: &Arc<Self>, payload: Payload) -> Result<Room, NoRoom> {
        self.check_size(&payload)?;
        self.try_reserve(payload).inspect_err(|no_room| {
            if let NoRoom::Full(reason) = no_room {
                self.log_refused_request(RequestKind::Spans, *reason);
            }
        })
    }

    /// Returns an error if the lane never takes such a payload.
    pub(super) fn check_size(&self, payload: &Payload) -> Result<(), NoRoom> {
        if self.shared.settings.protocol == Protocol::HttpJson {
            return Err(NoRoom::Json);
        }
        let max = self.shared.budget.largest_share();
        if memory(payload) > max {
            return Err(NoRoom::TooLarge { max });
        }
        Ok(())
    }

    /// Like [`reserve`](Self::reserve), without the checks that need no lock, and without a log line.
    pub(super) fn try_reserve(self: &Arc<Self>, payload: Payload) -> Result<Room, NoRoom> {
        let (settings, budget) = (&self.shared.settings, &self.shared.budget);
        let spans = payload.spans();
        let pieces = payload.pieces(MAX_SPANS.max(settings.max_export_batch_size));
        let bytes = pieces.iter().map(memory).sum();
        let mut state = self.state.lock_unless_forked().ok_or(NoRoom::Closed)?;
        self.stripes.collect(&mut state);
        if state.schedule == Schedule::Closed || self.shared.is_closing() {
            return Err(no_room(&state));
        }
        if !state.reserve(spans, settings.max_queue_size) {
            return Err(NoRoom::Full(state.receiver_health.drop_reason(RequestKind::Spans)));
        }
        if !state.share.admit(bytes, budget) {
            state.reserved -= spans;
            return Err(NoRoom::Full(state.receiver_health.drop_reason(RequestKind::Spans)));
        }
        drop(state);
        Ok(Room {
            lane: Arc::clone(self),
            pieces,
            bytes,
        })
    }
}

impl Room {
    /// Queues the payload of a caller, and counts the spans of its request that were sampled out. If
    /// the lane was closed meanwhile, the spans count as dropped.
    pub(crate) fn commit(mut self, sampled_out: u64, caller: Option<&Slug>) {
        let pieces = std::mem::take(&mut self.pieces);
        let lane = Arc::clone(&self.lane);
        let spans = pieces.iter().map(|piece| piece.spans() as u64).sum();
        lane.stripes.note_started(spans);
        #[cfg(feature = "metrics")]
        lane.left_out.fetch_add(sampled_out, Ordering::Relaxed);
        #[cfg(not(feature = "metrics"))]
        let _ = sampled_out;
        if spans == 0 {
            return;
        }
        let ids = || pieces.iter().flat_map(|piece| piece.trace_ids(0..piece.spans()));
        let traces = TraceCounts::of(&lane.trace_keys(|| ids().collect()));
        // Before the spans are queued: their outcomes come later.
        lane.note_counts(&traces, Note::Accepted(caller));
        let Some(mut state) = lane.state.lock_unless_forked() else {
            return;
        };
        lane.stripes.collect(&mut state);
        if state.schedule == Schedule::Closed {
            // Closing the lane released the room.
            let reason = state.refusal();
            state.ledger.refuse_all(spans, reason);
            drop(state);
            lane.note_counts(&traces, Note::Dropped(reason));
            return;
        }
        for piece in pieces {
            let bytes = memory(&piece);
            state.push_payload(piece, bytes);
        }
        let event = lane.schedule_queued(&mut state);
        drop(state);
        if let Some(event) = event {
            lane.notify(event);
        }
        lane.shared.check_memory_pressure();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.pieces.is_empty() {
            return;
        }
        let Some(mut state) = self.lane.state.lock_unless_forked() else {
            return;
        };
        if state.schedule != Schedule::Closed {
            state.reserved -= self.pieces.iter().map(Payload::spans).sum::<usize>();
            state.share.release_admitted(self.bytes, &self.lane.shared.budget);
        }
    }
}

/// Returns why a closed lane takes nothing.
pub(super) fn no_room(state: &State) -> NoRoom {
    if state.is_purged {
        NoRoom::Erased
    } else {
        NoRoom::Closed
    }
}

/// Returns the memory that a queued payload holds, in bytes.
pub(super) fn memory(payload: &Payload) -> usize {
    if payload.spans() == 0 { 0 } else { payload.byte_size() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Binding, Export};
    use crate::export::accounting::counted_lane::CountedLane;
    use crate::export::lane::tests::{Parts, lane};
    use crate::export::test_fixtures::{payload, span};
    use crate::ledger::LedgerSnapshot;

    fn spans(count: usize) -> Payload {
        let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        payload(&names)
    }

    fn ledger(lane: &Lane) -> LedgerSnapshot {
        lane.snapshot().ledgers.spans.snapshot()
    }

    #[test]
    fn reserved_room_holds_memory_and_is_in_no_ledger() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        let room = lane.reserve(spans(100)).expect("an empty lane takes any number");
        assert_eq!(ledger(&lane), LedgerSnapshot::default());
        assert!(lane.snapshot().held_bytes > 0);
        let full = NoRoom::Full(DropReason::QueueFull);
        assert_eq!(lane.reserve(spans(1)).err(), Some(full));
        drop(room);
        assert_eq!(
            (ledger(&lane), lane.snapshot().held_bytes),
            (LedgerSnapshot::default(), 0)
        );
        lane.reserve(spans(3)).expect("released").commit(0, None);
        assert_eq!((ledger(&lane).accepted, ledger(&lane).queued), (3, 3));
    }

    #[test]
    fn spans_of_the_program_do_not_take_reserved_room() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        let room = lane.reserve(spans(7)).expect("seven spans fit");
        lane.push(span("does not fit"));
        room.commit(0, None);
        assert_eq!((ledger(&lane).queued, ledger(&lane).lost()), (7, 1));
    }

    #[test]
    fn a_lane_that_closes_before_the_commit_counts_the_spans_as_dropped() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        let [queued, released] = [2, 3].map(|count| lane.reserve(spans(count)).expect("they fit"));
        lane.abandon();
        queued.commit(0, None);
        drop(released);
        assert_eq!(ledger(&lane).dropped, [(DropReason::AfterShutdown, 2)].into());
        assert_eq!(lane.snapshot().held_bytes, 0);
        assert_eq!(lane.reserve(spans(1)).err(), Some(NoRoom::Closed));
    }

    #[test]
    fn a_large_payload_is_queued_in_pieces() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        let room = lane
            .reserve(spans(2 * MAX_SPANS + 1))
            .expect("an empty lane takes any number");
        let pieces: Vec<usize> = room.pieces.iter().map(Payload::spans).collect();
        assert_eq!(pieces, [MAX_SPANS, MAX_SPANS, 1]);
        let held = lane.snapshot().held_bytes;
        room.commit(0, None);
        assert_eq!(
            (ledger(&lane).queued, lane.snapshot().held_bytes),
            (2 * MAX_SPANS as u64 + 1, held)
        );
        let room = lane.reserve(spans(MAX_SPANS + 1)).err();
        assert_eq!(room, Some(NoRoom::Full(DropReason::QueueFull)));
    }

    #[test]
    fn a_payload_larger_than_any_share_is_too_large() {
        let large = spans(1);
        let max_queue_bytes = 2 * large.byte_size();
        for (more, expected) in [
            (0, None),
            (
                2,
                Some(NoRoom::TooLarge {
                    max: max_queue_bytes / 2 - 1,
                }),
            ),
        ] {
            let export = Export {
                max_queue_bytes: Some(max_queue_bytes - more),
                ..Export::default()
            };
            let (lane, _ledger, _events_rx) = Parts::of(Binding::new(), export).lane();
            assert_eq!(lane.reserve(large.clone()).err(), expected);
        }
    }

    #[test]
    fn a_payload_without_spans_holds_no_memory() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        lane.reserve(spans(0)).expect("nothing fits").commit(1, None);
        assert_eq!(
            (ledger(&lane), lane.snapshot().held_bytes),
            (LedgerSnapshot::default(), 0)
        );
    }
}
