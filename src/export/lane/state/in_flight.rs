//! In-flight batches of a lane by sequence numbers. Batches and parts of a batch complete in any
//! order.

use std::ops::Range;

/// Batches with spans that have no outcome.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: Vec<SentBatch>,
}

#[derive(Debug)]
struct SentBatch {
    bytes: usize,
    pending: Vec<Range<u64>>,
    /// Order number for flushes.
    #[cfg(feature = "spool")]
    flush_order: u64,
}

impl InFlight {
    /// Returns the number of in-flight batches.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Adds spans that left the queue together.
    pub(crate) fn take(&mut self, spans: Range<u64>, bytes: usize) {
        if !spans.is_empty() {
            self.batches.push(SentBatch {
                bytes,
                pending: std::iter::once(spans).collect(),
                #[cfg(feature = "spool")]
                flush_order: 0,
            });
        }
    }

    /// Sets the order number for flushes of the batch that was added last.
    #[cfg(feature = "spool")]
    pub(crate) fn set_flush_order(&mut self, order: u64) {
        if let Some(last) = self.batches.last_mut() {
            last.flush_order = order;
        }
    }

    /// Returns how many spans a flush waits for that begins at this order number.
    #[cfg(feature = "spool")]
    pub(crate) fn before_flush(&self, order: u64) -> u64 {
        let before = self.batches.iter().filter(|sent| sent.flush_order < order);
        let pending = before.flat_map(|sent| &sent.pending);
        pending.map(|range| range.end - range.start).sum()
    }

    /// Completes spans of one batch. Returns the bytes of the batch if these were its last spans,
    /// otherwise 0.
    pub(crate) fn complete(&mut self, spans: &Range<u64>) -> usize {
        let mut found = self.batches.iter().enumerate().flat_map(|(batch, sent)| {
            let ranges = sent.pending.iter().enumerate();
            let of_it = ranges.filter(|(_, range)| range.start <= spans.start && spans.end <= range.end);
            of_it.map(move |(at, range)| (batch, at, range.clone()))
        });
        let Some((batch, at, range)) = found.next() else {
            return 0;
        };
        let pending = &mut self.batches[batch].pending;
        pending.swap_remove(at);
        let left = [range.start..spans.start, spans.end..range.end];
        pending.extend(left.into_iter().filter(|left| !left.is_empty()));
        if !pending.is_empty() {
            return 0;
        }
        let bytes = self.batches.swap_remove(batch).bytes;
        if self.batches.is_empty() {
            // Free the memory of an idle lane.
            self.batches = Vec::new();
        }
        bytes
    }

    /// Returns how many spans with a lower sequence number have no outcome.
    pub(crate) fn before(&self, number: u64) -> u64 {
        let pending = self.batches.iter().flat_map(|sent| &sent.pending);
        pending
            .map(|range| range.end.min(number).saturating_sub(range.start))
            .sum()
    }
}
