//! What the model knows of one lane: the fate of every span and of every session event, by the number that it was made with.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::SESSIONS;
use crate::export::accounting::counted_lane::{FlushMark, Pending};
use crate::export::lane::events::Ticket;
use crate::export::send::outcome::Outcome;
use crate::ledger::{DropReason, LedgerSnapshot};

/// What the model knows of spans or of events. Numbers are the order in which they were accepted.
#[derive(Default)]
pub(super) struct Books {
    pub(super) delivered: u64,
    pub(super) dropped: BTreeMap<DropReason, u64>,
}

/// A session's events by number and what settles them, waiting and under way.
#[derive(Default)]
pub(super) struct SessionModel {
    pub(super) waiting: VecDeque<(u64, Ticket)>,
    pub(super) under_way: Vec<(u64, Ticket)>,
}

/// The task that the engine starts for a lane.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Task {
    #[default]
    None,
    Runs,
    /// It waits for its turn to take a batch.
    Waits,
}

#[derive(Default)]
pub(super) struct LaneModel {
    pub(super) queue: VecDeque<u64>,
    /// What of a batch has no outcome yet, by the lane's own numbers of the spans.
    pub(super) parts: Vec<(Range<u64>, Vec<u64>)>,
    pub(super) sessions: [SessionModel; SESSIONS],
    pub(super) spans: Books,
    pub(super) events: Books,
    pub(super) task: Task,
    pub(super) gone: bool,
    pub(super) closed: bool,
}

/// A flush, and how many spans and events there ever were when it was asked for.
pub(super) struct Mark {
    pub(super) lane: usize,
    pub(super) until: FlushMark,
    pub(super) spans: u64,
    pub(super) events: u64,
}

impl Books {
    pub(super) fn drop(&mut self, count: usize, reason: DropReason) {
        if count > 0 {
            *self.dropped.entry(reason).or_default() += count as u64;
        }
    }

    /// Of `count` that have an outcome.
    pub(super) fn settle(&mut self, count: usize, outcome: Outcome) {
        match outcome {
            Outcome::Delivered { rejected } => {
                self.delivered += count as u64 - rejected;
                self.drop(usize::try_from(rejected).expect("small"), DropReason::Rejected);
            }
            Outcome::Refused(reason) | Outcome::Dropped(reason) => self.drop(count, reason),
            Outcome::Faulted => {}
        }
    }

    pub(super) fn expect(lanes: &[&Self], queued: usize, in_flight: usize) -> LedgerSnapshot {
        let mut expected = LedgerSnapshot {
            queued: queued as u64,
            in_flight: in_flight as u64,
            ..LedgerSnapshot::default()
        };
        for books in lanes {
            expected.delivered += books.delivered;
            for (reason, count) in &books.dropped {
                *expected.dropped.entry(*reason).or_default() += count;
            }
        }
        expected.accepted = expected.delivered + expected.pending() + expected.lost();
        expected
    }
}

impl LaneModel {
    pub(super) fn spans_under_way(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.len()).sum()
    }

    pub(super) fn events_waiting(&self) -> usize {
        self.sessions.iter().map(|session| session.waiting.len()).sum()
    }

    pub(super) fn events_under_way(&self) -> usize {
        self.sessions.iter().map(|session| session.under_way.len()).sum()
    }

    /// What has no outcome of what was accepted before the mark.
    pub(super) fn pending(&self, mark: &Mark) -> Pending {
        let spans = self.queue.iter().chain(self.parts.iter().flat_map(|(_, part)| part));
        let events = self
            .sessions
            .iter()
            .flat_map(|session| session.waiting.iter().chain(&session.under_way));
        Pending {
            spans: spans.filter(|number| **number < mark.spans).count() as u64,
            events: events.filter(|(number, _)| *number < mark.events).count() as u64,
        }
    }

    pub(super) fn close(&mut self) {
        self.spans
            .drop(self.queue.len() + self.spans_under_way(), DropReason::Shutdown);
        self.events
            .drop(self.events_waiting() + self.events_under_way(), DropReason::Shutdown);
        (self.queue, self.parts) = (VecDeque::new(), Vec::new());
        self.sessions = Default::default();
        self.closed = true;
    }
}
