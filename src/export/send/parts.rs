//! A batch on its way: whole at first, and in halves if it is refused, until what the receiver refuses is alone.
//!
//! A 4xx that is about what a request carries (the verdict `Refuse`) divides what was sent in two. The halves are sent one after the other,
//! in the order of the queue, each encoded anew; a span that is refused alone is dropped. One bad span of 512 costs 18 requests more.
//!
//! A receiver that refuses everything must not be asked for every span. So the first refusals divide along one path only: the first half, its
//! first half, down to one span, and then the other half of each. That is [`Parts`]; `log` is the depth of the path:
//!
//! | parts | event | next |
//! |---|---|---|
//! | descending | several spans are refused | descending: divided, the first half is next |
//! | descending | one span is refused | on the way back: it is kept |
//! | on the way back | a part is refused | on the way back: it is kept, undivided |
//! | descending, on the way back | spans are taken | taken: each part that is kept is divided, a kept span is dropped |
//! | taken | several spans are refused | taken: divided |
//! | taken | one span is refused | taken: dropped |
//! | descending, on the way back | no part is left | what is kept is dropped, and the lane is barren |
//!
//! A barren lane ([`Halving`]) divides nothing until one of its spans is taken: each refused batch is dropped after one request. So a receiver
//! that refuses everything gets `2 log + 1` requests at the most, and then one for each batch. If a receiver takes some of the spans of a
//! batch of `m`, that costs no more than `2m - 1` requests, one after the other.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::ledger::DropReason;

/// Whether a lane divides what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halving {
    is_disabled: bool,
    /// Requests of which spans were taken.
    taken: u64,
}

impl Halving {
    pub(crate) fn delivered_requests(self) -> u64 {
        self.taken
    }

    pub(crate) fn may_split(self) -> bool {
        !self.is_disabled
    }

    /// A batch was divided, and nothing of it was taken.
    pub(crate) fn disable_splitting(&mut self) {
        self.is_disabled = true;
    }

    /// Spans were taken.
    pub(crate) fn note_delivered(&mut self) {
        self.is_disabled = false;
        self.taken += 1;
    }
}

/// What of a batch is still to be sent, and what was refused and may be sent again in halves.
pub(super) struct Parts {
    /// In the order of the queue; the last one is the next to be sent.
    pub(super) waiting: Vec<Range<usize>>,
    /// Refused on the path, in the order of sending.
    pub(super) kept: Vec<Refused>,
    path: Path,
    /// Spans that the receiver failed on before it took others: if it does again, it is them.
    suspects: BTreeSet<usize>,
}

/// Spans that were refused together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) part: Range<usize>,
    pub(super) reason: DropReason,
    /// Not refused: the receiver failed on them, and may have been down.
    pub(super) by_fault: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Descending,
    Back,
    /// Spans of the batch were taken.
    Taken,
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

    /// Spans of the last part were taken. Returns the spans that are now refused permanently.
    pub(super) fn note_delivered(&mut self) -> Vec<Refused> {
        self.path = Path::Taken;
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (alone, several): (Vec<_>, Vec<_>) = kept.partition(|refused| refused.part.len() == 1);
        // In the order of the queue: what is divided last is sent next.
        several.iter().rev().for_each(|refused| self.split(&refused.part));
        let (faulted, refused): (Vec<_>, Vec<_>) = alone.into_iter().partition(|alone| alone.by_fault);
        for Refused { part, .. } in faulted.into_iter().rev() {
            self.suspects.insert(part.start);
            self.waiting.push(part);
        }
        refused
    }

    /// The last part was refused. Returns it if the refusal is permanent.
    pub(super) fn note_refused(&mut self, refused: Refused) -> Option<Refused> {
        let is_alone = refused.part.len() == 1;
        if is_alone && refused.by_fault && self.suspects.contains(&refused.part.start) {
            return Some(refused);
        }
        // What was taken says nothing of whether the receiver is down by now.
        if refused.by_fault && self.path == Path::Taken {
            self.path = Path::Descending;
        }
        match self.path {
            Path::Descending | Path::Taken if !is_alone => self.split(&refused.part),
            Path::Taken => return Some(refused),
            Path::Descending | Path::Back => {
                self.path = Path::Back;
                self.kept.push(refused);
            }
        }
        None
    }

    /// What is kept is to be sent again, neighbours together.
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

    /// The part that came last is to be sent again.
    pub(super) fn put_back(&mut self, part: Range<usize>) {
        self.waiting.push(part);
    }

    fn split(&mut self, part: &Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
    }
}
