//! Splitting of a refused batch into halves, until the refused spans are isolated.
//!
//! A 4xx about the content of a request (the verdict `Refuse`) splits it in two. The halves are
//! encoded again and sent one at a time, in queue order. A span that is refused alone is dropped.
//! One bad span of 512 costs 18 extra requests.
//!
//! A receiver that refuses everything must not get a request per span. So the first refusals split
//! along one path only: the first half, its first half, down to one span, then the other half of
//! each. [`Parts`] implements it; `log` is the depth of the path:
//!
//! | parts | event | next |
//! |---|---|---|
//! | descending | several spans are refused | descending: split, the first half is next |
//! | descending | one span is refused | returning: it is kept |
//! | returning | a part is refused | returning: it is kept, not split |
//! | descending, returning | spans are delivered | delivered: kept parts are split, a kept span is dropped |
//! | delivered | several spans are refused | delivered: split |
//! | delivered | one span is refused | delivered: dropped |
//! | descending, returning | no part is left | the kept parts are dropped, and splitting is disabled |
//!
//! While splitting is disabled ([`Halving`]), each refused batch of the lane is dropped after one
//! request. A delivered span enables it again. So a receiver that refuses everything gets at most
//! `2 log + 1` requests, then one per batch. If it accepts some spans of a batch of `m`, that costs
//! at most `2m - 1` sequential requests.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::export::error::ExportError;
use crate::ledger::DropReason;

/// Whether a lane splits refused batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halving {
    is_disabled: bool,
    /// Number of requests that delivered spans.
    delivered: u64,
}

impl Halving {
    pub(crate) fn delivered_requests(self) -> u64 {
        self.delivered
    }

    pub(crate) fn may_split(self) -> bool {
        !self.is_disabled
    }

    /// Disables splitting: a split batch delivered nothing.
    pub(crate) fn disable_splitting(&mut self) {
        self.is_disabled = true;
    }

    /// Records a request that delivered spans, and enables splitting.
    pub(crate) fn note_delivered(&mut self) {
        self.is_disabled = false;
        self.delivered += 1;
    }
}

/// The parts of a batch that wait to be sent, and the refused parts that may be split.
pub(super) struct Parts {
    /// Reverse queue order: the last part is sent next.
    pub(super) waiting: Vec<Range<usize>>,
    /// Refused on the path, in the order of sending.
    pub(super) kept: Vec<Refused>,
    path: Path,
    /// Spans that the receiver failed on before it accepted others. If it fails on one again, the
    /// span is at fault.
    suspects: BTreeSet<usize>,
}

/// Spans that were refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) part: Range<usize>,
    pub(super) reason: DropReason,
    /// Whether the receiver failed instead of refusing; it may have been down.
    pub(super) by_fault: bool,
    /// The receiver's answer, if refused batches are kept.
    pub(super) error: Option<ExportError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Descending,
    Returning,
    /// Spans of the batch were delivered.
    Delivered,
}

impl Parts {
    pub(super) fn of(count: usize) -> Self {
        Self {
            waiting: std::iter::once(0..count).collect(),
            kept: Vec::new(),
            path: Path::Descending,
            suspects: BTreeSet::new(),
        }
    }

    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// Records that spans of the last part were delivered. Returns the spans that are now
    /// permanently refused.
    pub(super) fn note_delivered(&mut self) -> Vec<Refused> {
        self.path = Path::Delivered;
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (alone, several): (Vec<_>, Vec<_>) = kept.partition(|refused| refused.part.len() == 1);
        // Reverse order: the part that is split last is sent next.
        several.iter().rev().for_each(|refused| self.split(&refused.part));
        let (faulted, refused): (Vec<_>, Vec<_>) = alone.into_iter().partition(|alone| alone.by_fault);
        for Refused { part, .. } in faulted.into_iter().rev() {
            self.suspects.insert(part.start);
            self.waiting.push(part);
        }
        refused
    }

    /// Records that the last part was refused. Returns it if the refusal is permanent.
    pub(super) fn note_refused(&mut self, refused: Refused) -> Option<Refused> {
        let is_alone = refused.part.len() == 1;
        if is_alone && refused.by_fault && self.suspects.contains(&refused.part.start) {
            return Some(refused);
        }
        // Earlier deliveries do not show whether the receiver is down now.
        if refused.by_fault && self.path == Path::Delivered {
            self.path = Path::Descending;
        }
        match self.path {
            Path::Descending | Path::Delivered if !is_alone => self.split(&refused.part),
            Path::Delivered => return Some(refused),
            Path::Descending | Path::Returning => {
                self.path = Path::Returning;
                self.kept.push(refused);
            }
        }
        None
    }

    /// Queues the kept parts again, merging neighbours.
    pub(super) fn retry_kept(&mut self) {
        let mut kept: Vec<_> = self.kept.drain(..).map(|kept| kept.part).collect();
        kept.sort_by_key(|part| part.start);
        for part in kept.into_iter().rev() {
            match self.waiting.last_mut() {
                Some(next) if next.start == part.end => next.start = part.start,
                _ => self.waiting.push(part),
            }
        }
        self.path = Path::Descending;
    }

    /// Queues the last part again.
    pub(super) fn put_back(&mut self, part: Range<usize>) {
        self.waiting.push(part);
    }

    fn split(&mut self, part: &Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
    }
}
