//! Counts of rows, items and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracer_registry_spool::{Kind, QueueDepth};

/// Rows, and what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rows: u64,
    /// Rows by kind.
    pub(crate) by_kind: [u64; 2],
    /// Spans and session events.
    pub(crate) items: [u64; 2],
    pub(crate) bytes: u64,
}

impl Count {
    pub(crate) fn of(kind: Kind, items: u32, bytes: u64) -> Self {
        let mut count = Self::default();
        count.add(kind, items, bytes);
        count
    }

    pub(crate) fn add(&mut self, kind: Kind, items: u32, bytes: u64) {
        self.rows += 1;
        self.by_kind[kind as usize] += 1;
        self.items[kind as usize] += u64::from(items);
        self.bytes += bytes;
    }

    /// Never goes below zero: what was counted in a stream may differ from what was read there.
    pub(crate) fn remove(&mut self, kind: Kind, items: u32, bytes: u64) {
        self.subtract(&Self::of(kind, items, bytes));
    }

    pub(crate) fn sum(&mut self, other: &Self) {
        self.zip(other, u64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.zip(other, u64::saturating_sub);
    }

    /// A row has other items and bytes now.
    pub(crate) fn change(&mut self, kind: Kind, from: (u32, u64), to: (u32, u64)) {
        self.remove(kind, from.0, from.1);
        self.add(kind, to.0, to.1);
    }

    fn zip(&mut self, other: &Self, by: fn(u64, u64) -> u64) {
        self.rows = by(self.rows, other.rows);
        self.bytes = by(self.bytes, other.bytes);
        for kind in 0..2 {
            self.by_kind[kind] = by(self.by_kind[kind], other.by_kind[kind]);
            self.items[kind] = by(self.items[kind], other.items[kind]);
        }
    }
}

/// Returns the depth of a queue.
pub(crate) fn depth(queue: Arc<str>, count: &Count) -> QueueDepth {
    QueueDepth {
        queue,
        spans: count.items[0],
        events: count.items[1],
        span_rows: count.by_kind[0],
        event_rows: count.by_kind[1],
        bytes: count.bytes,
    }
}

/// Adds up counts of the same queue. Leaves out what is empty.
pub(crate) fn merge(counts: impl Iterator<Item = (Arc<str>, Count)>) -> Vec<QueueDepth> {
    let mut of_queue: BTreeMap<Arc<str>, Count> = BTreeMap::new();
    for (queue, count) in counts.filter(|(_, count)| count.rows > 0) {
        of_queue.entry(queue).or_default().sum(&count);
    }
    of_queue
        .into_iter()
        .map(|(queue, count)| depth(queue, &count))
        .collect()
}
