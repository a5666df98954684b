//! Encoded spans in a queue.

use std::ops::Range;
use std::time::SystemTime;

use opentelemetry::trace::TraceId;

use crate::backend::Edits;
use crate::export::payload::Payload;

/// Spans of a request that stay together.
pub(super) struct Encoded {
    payload: Payload,
    /// Which spans of the request.
    spans: Range<usize>,
    queued_at: SystemTime,
}

impl Encoded {
    pub(super) fn new(payload: Payload) -> Self {
        Self {
            spans: 0..payload.spans(),
            payload,
            queued_at: SystemTime::now(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn queued_at(&self) -> SystemTime {
        self.queued_at
    }

    /// Returns the request, and which of its spans these are.
    pub(super) fn part(&self, range: Range<usize>) -> (&Payload, Range<usize>) {
        let start = self.spans.start;
        (&self.payload, start + range.start..start + range.end)
    }

    /// Returns the trace ids of these spans, in order.
    pub(super) fn trace_ids(&self) -> impl Iterator<Item = TraceId> {
        self.payload.trace_ids(self.spans.clone())
    }

    /// Splits off the first `count` spans. Copies no data, because the caller holds the lane's lock.
    pub(super) fn split(&mut self, count: usize) -> Self {
        let middle = self.spans.start + count;
        let first = self.spans.start..middle;
        self.spans.start = middle;
        Self {
            payload: self.payload.clone(),
            spans: first,
            queued_at: self.queued_at,
        }
    }

    /// Reduces the request to these spans and applies the changes of a binding.
    pub(super) fn finish(&mut self, edits: &Edits) {
        if self.spans.len() < self.payload.spans() {
            let part = self.payload.slice(self.spans.clone());
            self.payload = Payload::check(part).expect("a part of a checked request is valid");
            self.spans = 0..self.payload.spans();
        }
        self.payload.splice(edits);
    }
}
