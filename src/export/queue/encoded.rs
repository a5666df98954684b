//! Encoded spans in a queue.

use std::ops::Range;
use std::time::SystemTime;

use opentelemetry::trace::TraceId;

use crate::backend::Edits;
use crate::export::payload::Payload;
#[cfg(all(feature = "redact", feature = "spool"))]
use crate::policy::redaction::Redaction;

/// Spans of a request that stay together.
pub(crate) struct Encoded {
    payload: Payload,
    /// Which spans of the request.
    spans: Range<usize>,
    queued_at: SystemTime,
    /// Whether the changes of a binding were applied when it was accepted.
    #[cfg(feature = "spool")]
    is_finished: bool,
    /// Order number of the moment when it was read from disk.
    #[cfg(feature = "spool")]
    loaded: Option<u64>,
}

impl Encoded {
    pub(super) fn new(payload: Payload) -> Self {
        Self {
            spans: 0..payload.spans(),
            payload,
            queued_at: SystemTime::now(),
            #[cfg(feature = "spool")]
            is_finished: false,
            #[cfg(feature = "spool")]
            loaded: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
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
            ..*self
        }
    }

    /// Reduces the request to these spans and applies the changes of a binding.
    pub(super) fn finish(&mut self, edits: &Edits) {
        self.reduce();
        #[cfg(feature = "spool")]
        if self.is_finished {
            return self.payload.splice(&edits.forced());
        }
        self.payload.splice(edits);
    }
}

impl Encoded {
    /// Reduces the request to these spans.
    fn reduce(&mut self) {
        if self.spans.len() < self.payload.spans() {
            self.payload = self.payload.part(self.spans.clone());
            self.spans = 0..self.payload.spans();
        }
    }

    /// Applies the rules of redaction to spans that were stored without.
    #[cfg(all(feature = "redact", feature = "spool"))]
    pub(super) fn redact(&mut self, redaction: &Redaction) {
        self.reduce();
        self.payload.redact(redaction);
    }
}

#[cfg(feature = "spool")]
impl Encoded {
    /// Creates the spans of a row that were accepted at this time.
    pub(crate) fn of_row(payload: Payload, is_finished: bool, accepted: SystemTime) -> Self {
        Self {
            queued_at: accepted,
            is_finished,
            ..Self::new(payload)
        }
    }

    /// Marks the row as read from disk at this order number. Earlier flushes do not wait for it.
    pub(crate) fn loaded_at(self, order: u64) -> Self {
        let loaded = Some(order);
        Self { loaded, ..self }
    }

    pub(super) fn loaded(&self) -> Option<u64> {
        self.loaded
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }
}
