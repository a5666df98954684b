//! Moves of spans between the queues of a lane and the disk.

use std::ops::Range;

use tracer_registry_spool::{Kind, RowId};

use super::schedule::Schedule;
use super::staged::Saving;
use super::state::State;
use crate::export::queue::budget::Budget;
use crate::export::queue::encoded::Encoded;
use crate::export::queue::span_queue::Queue;
use crate::ledger::DropReason;

/// Rows that left the memory of a lane.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) rows: Vec<RowId>,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// The spans, which are freed outside the lock.
    pub(crate) _spans: Queue,
}

impl State {
    /// Returns whether new spans go to disk first.
    pub(crate) fn is_durable(&self) -> bool {
        let spool = self.spool.as_deref();
        spool.is_some_and(|spool| spool.is_durable(Kind::Spans))
    }

    /// Gives all spans in memory an order number.
    pub(crate) fn number(&mut self, mut next: impl FnMut(u64) -> u64) {
        self.spans.number(&mut next);
        if let Some(spool) = &mut self.spool {
            spool.staged.number(next);
        }
    }

    /// Makes a direct lane durable: queued spans that are not on disk are staged.
    pub(crate) fn stage(&mut self, next: impl FnMut(u64) -> u64) {
        self.number(next);
        let Some(spool) = &mut self.spool else { return };
        if std::mem::replace(&mut spool.is_durable[Kind::Spans as usize], true) {
            return;
        }
        spool.wants_spill = false;
        let on_disk = spool.tickets.end().saturating_sub(self.spans.taken());
        let mut rest = self.spans.split_off(usize::try_from(on_disk).unwrap_or(usize::MAX));
        spool.staged.append(&mut rest);
        self.forget_removed();
    }

    /// Makes a durable lane direct: staged spans are queued to be sent. Returns false if it is not
    /// durable, or if spans are on their way to disk.
    pub(crate) fn unstage(&mut self) -> bool {
        let Some(spool) = &mut self.spool else { return false };
        if !spool.is_durable(Kind::Spans) || spool.is_saving() {
            return false;
        }
        spool.is_durable[Kind::Spans as usize] = false;
        self.spans.append(&mut spool.take_all());
        true
    }

    /// Removes the queued spans of a durable lane from memory: they are on disk.
    pub(crate) fn release(&mut self, budget: &Budget) -> Released {
        let taken = self.spans.taken();
        let Some(spool) = self.spool.as_mut().filter(|spool| spool.is_durable(Kind::Spans)) else {
            return Released::default();
        };
        let (rows, bytes) = spool.tickets.take_from(taken);
        // A row stays if a part of it is in flight.
        let kept = spool.tickets.end().saturating_sub(taken);
        let spans = self.spans.split_off(usize::try_from(kept).unwrap_or(usize::MAX));
        self.ledger.hand_over(spans.len() as u64);
        self.share.discard(spans.bytes(), budget);
        self.forget_removed();
        Released {
            rows,
            bytes,
            _spans: spans,
        }
    }

    /// Queues the spans of a row that is in memory too. The memory is counted already.
    pub(crate) fn push_row(&mut self, row: (RowId, u64), spans: Encoded, order: u64, bytes: usize) {
        let before = self.pushed();
        self.spans.push_row(spans, order, bytes);
        let numbers = before..self.pushed();
        if let Some(spool) = &mut self.spool {
            spool.tickets.push(row, numbers);
        }
    }

    /// Counts staged spans that were not saved as dropped.
    pub(crate) fn drop_queued(&mut self, saving: &Saving, reason: DropReason, budget: &Budget) {
        self.ledger.take(saving.spans);
        self.ledger.drop_in_flight(saving.spans, reason);
        self.share.discard(saving.bytes, budget);
    }

    /// Records that spans have an outcome. Returns the rows of which none is left.
    pub(crate) fn complete_tickets(&mut self, spans: &Range<u64>) -> Vec<RowId> {
        let of_lane = self.spool.as_mut();
        of_lane.map_or_else(Vec::new, |of_lane| of_lane.tickets.complete(spans))
    }

    /// Counts spans with rows as left on disk, because the lane closes at a shutdown.
    pub(crate) fn leave_rows(&mut self) {
        if let Some(spool) = &mut self.spool {
            let left = spool.tickets.left();
            let queued = left.min(spool.tickets.end().saturating_sub(self.spans.taken()));
            self.ledger.hand_over(queued);
            self.ledger.hand_over_in_flight(left - queued);
        }
    }

    /// Returns why a full lane drops a span, if the disk is the cause.
    pub(crate) fn spool_drop_reason(&self) -> Option<DropReason> {
        let spool = self.spool.as_deref()?;
        (spool.full_since.is_some() && spool.is_durable(Kind::Spans)).then_some(DropReason::SpoolFull)
    }

    /// Forgets the numbers of spans that were removed from the end of the queue.
    fn forget_removed(&mut self) {
        let pushed = self.pushed();
        self.due = self.due.min(pushed);
        if let Some(outage) = self.outage() {
            outage.forget_after(pushed);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.schedule == Schedule::Closed
    }
}
