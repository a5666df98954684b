//! Rows of spans that are also in memory, by the sequence numbers of the lane's queue.

use std::collections::VecDeque;
use std::ops::Range;

use tracer_registry_spool::RowId;

/// Rows of queued and in-flight spans, in the order of the queue.
#[derive(Debug, Default)]
pub(crate) struct Tickets(VecDeque<Ticket>);

#[derive(Debug)]
struct Ticket {
    row: RowId,
    /// Bytes of its body.
    bytes: u64,
    numbers: Range<u64>,
    /// Spans without an outcome.
    left: u64,
}

/// Spans of one row, all without an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TicketPart {
    pub(crate) row: RowId,
    /// Bytes of its body.
    pub(crate) bytes: u64,
    pub(crate) numbers: Range<u64>,
    /// Spans of the row without an outcome, and all of its spans.
    pub(crate) left: u64,
    pub(crate) of: u64,
    /// Whether these are all spans of the row without an outcome.
    pub(crate) is_rest: bool,
    /// Whether these are all spans of the row.
    pub(crate) is_whole: bool,
}

impl Tickets {
    /// Adds a row, and the bytes of its body, of spans that were queued behind all others.
    pub(crate) fn push(&mut self, (row, bytes): (RowId, u64), numbers: Range<u64>) {
        let left = numbers.end - numbers.start;
        self.0.push_back(Ticket {
            row,
            bytes,
            numbers,
            left,
        });
    }

    /// Returns the number after the last span with a row, or 0.
    pub(crate) fn end(&self) -> u64 {
        self.0.back().map_or(0, |last| last.numbers.end)
    }

    /// Records the outcome of spans. Returns the rows of which none is left.
    pub(crate) fn complete(&mut self, numbers: &Range<u64>) -> Vec<RowId> {
        let mut done = Vec::new();
        let first = self.first(numbers.start);
        for ticket in self.0.range_mut(first..) {
            if ticket.numbers.start >= numbers.end {
                break;
            }
            let inside = overlap(&ticket.numbers, numbers);
            ticket.left -= inside.end - inside.start;
            if ticket.left == 0 {
                done.push(ticket.row);
            }
        }
        if !done.is_empty() {
            self.0.retain(|ticket| ticket.left > 0);
        }
        if self.0.is_empty() {
            // Free the memory of an idle lane.
            self.0 = VecDeque::new();
        }
        done
    }

    /// Removes the rows of which all spans have this number or a later one. Returns them, and the
    /// bytes of their bodies.
    pub(crate) fn take_from(&mut self, number: u64) -> (Vec<RowId>, u64) {
        let queued = self.0.partition_point(|ticket| ticket.numbers.start < number);
        let queued = self.0.split_off(queued);
        let bytes = queued.iter().map(|ticket| ticket.bytes).sum();
        (queued.into_iter().map(|ticket| ticket.row).collect(), bytes)
    }

    /// Returns the rows of spans without an outcome, and which of the spans are theirs.
    pub(crate) fn parts(&self, numbers: &Range<u64>) -> Vec<TicketPart> {
        let of_range = self.0.range(self.first(numbers.start)..);
        let of_range = of_range.take_while(|ticket| ticket.numbers.start < numbers.end);
        let part = |ticket: &Ticket| {
            let inside = overlap(&ticket.numbers, numbers);
            TicketPart {
                row: ticket.row,
                bytes: ticket.bytes,
                left: ticket.left,
                of: ticket.numbers.end - ticket.numbers.start,
                is_rest: ticket.left == inside.end - inside.start,
                is_whole: inside == ticket.numbers,
                numbers: inside,
            }
        };
        of_range.map(part).collect()
    }

    /// Returns how many spans with rows have no outcome.
    pub(crate) fn left(&self) -> u64 {
        self.0.iter().map(|ticket| ticket.left).sum()
    }

    fn first(&self, number: u64) -> usize {
        self.0.partition_point(|ticket| ticket.numbers.end <= number)
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}
