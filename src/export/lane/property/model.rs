//! Model of one lane: the fate of each span and session event, by creation number.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::SESSIONS;
use crate::export::accounting::counted_lane::{FlushMark, Pending};
use crate::export::lane::events::Ticket;
use crate::export::send::outcome::Outcome;
use crate::ledger::{DropReason, LedgerSnapshot};

/// Expected totals of spans or of events.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) delivered: u64,
    pub(super) dropped: BTreeMap<DropReason, u64>,
}

/// A session's events, waiting and in flight: creation number and ticket.
#[derive(Default)]
pub(super) struct SessionModel {
    pub(super) waiting: VecDeque<(u64, Ticket)>,
    pub(super) in_flight: Vec<(u64, Ticket)>,
}

/// The task that the engine starts for a lane.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Task {
    #[default]
    None,
    Runs,
    /// It waits for a permit.
    Waits,
}

#[derive(Default)]
pub(super) struct LaneModel {
    pub(super) queue: VecDeque<u64>,
    /// Parts of batches without an outcome: the lane's sequence numbers, and creation numbers.
    pub(super) parts: Vec<(Range<u64>, Vec<u64>)>,
    pub(super) sessions: [SessionModel; SESSIONS],
    pub(super) spans: Totals,
    pub(super) events: Totals,
    pub(super) task: Task,
    pub(super) retired: bool,
    pub(super) closed: bool,
}

/// A flush, and the total numbers of spans and events when it started.
pub(super) struct Mark {
    pub(super) lane: usize,
    pub(super) until: FlushMark,
    pub(super) spans: u64,
    pub(super) events: u64,
}

impl Totals {
    pub(super) fn drop(&mut self, count: usize, reason: DropReason) {
        if count > 0 {
            *self.dropped.entry(reason).or_default() += count as u64;
        }
    }

    /// Records the outcome of `count` spans or events.
    pub(super) fn complete(&mut self, count: usize, outcome: Outcome) {
        match outcome {
            Outcome::Delivered { rejected } => {
                self.delivered += count as u64 - rejected;
                self.drop(usize::try_from(rejected).expect("small"), DropReason::Rejected);
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => self.drop(count, reason),
            Outcome::Faulted | Outcome::HandedOver => {}
        }
    }

    pub(super) fn expect(lanes: &[&Self], queued: usize, in_flight: usize) -> LedgerSnapshot {
        let mut expected = LedgerSnapshot {
            queued: queued as u64,
            in_flight: in_flight as u64,
            ..LedgerSnapshot::default()
        };
        for totals in lanes {
            expected.delivered += totals.delivered;
            for (reason, count) in &totals.dropped {
                *expected.dropped.entry(*reason).or_default() += count;
            }
        }
        expected.accepted = expected.delivered + expected.pending() + expected.lost();
        expected
    }
}

impl LaneModel {
    pub(super) fn spans_in_flight(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.len()).sum()
    }

    pub(super) fn events_waiting(&self) -> usize {
        self.sessions.iter().map(|session| session.waiting.len()).sum()
    }

    pub(super) fn events_in_flight(&self) -> usize {
        self.sessions.iter().map(|session| session.in_flight.len()).sum()
    }

    /// Returns how much of what was accepted before the mark is pending.
    pub(super) fn pending(&self, mark: &Mark) -> Pending {
        let spans = self.queue.iter().chain(self.parts.iter().flat_map(|(_, part)| part));
        let events = self
            .sessions
            .iter()
            .flat_map(|session| session.waiting.iter().chain(&session.in_flight));
        Pending {
            spans: spans.filter(|number| **number < mark.spans).count() as u64,
            events: events.filter(|(number, _)| *number < mark.events).count() as u64,
        }
    }

    pub(super) fn close(&mut self) {
        self.spans
            .drop(self.queue.len() + self.spans_in_flight(), DropReason::Shutdown);
        self.events
            .drop(self.events_waiting() + self.events_in_flight(), DropReason::Shutdown);
        (self.queue, self.parts) = (VecDeque::new(), Vec::new());
        self.sessions = Default::default();
        self.closed = true;
    }
}
