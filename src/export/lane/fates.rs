//! What a lane records about its traces and its refused batches. The only place that records: always
//! under the selector of the lane.

use opentelemetry::trace::TraceId;

use super::lane::Lane;
use crate::export::accounting::refused::RefusedBatch;
use crate::export::explain::counts::{TraceCounts, TraceKey};
use crate::export::explain::fate::Note;
#[cfg(feature = "encoded")]
use crate::export::payload::Payload;
#[cfg(feature = "encoded")]
use crate::selector::Slug;

impl Lane {
    /// Returns whether refused batches are kept.
    pub(crate) fn keeps_refused(&self) -> bool {
        self.shared.refused_room.is_some()
    }

    /// Keeps a refused batch of this lane.
    pub(crate) fn keep_refused(&self, batch: RefusedBatch) {
        if let (Some(room), Some(ledger)) = (&self.shared.refused_room, self.selector_ledger()) {
            ledger.refused.add(batch, room);
        }
    }

    /// Returns whether `explain` is on.
    #[cfg(feature = "encoded")]
    pub(crate) fn is_explained(&self) -> bool {
        self.shared.explain.is_some()
    }

    /// Returns the keys of spans' traces, in order. Empty if `explain` is off.
    pub(crate) fn trace_keys(&self, trace_ids: impl FnOnce() -> Vec<TraceId>) -> Vec<TraceKey> {
        let Some(table) = &self.shared.explain else {
            return Vec::new();
        };
        let ids = trace_ids().into_iter();
        ids.map(|id| table.key(id)).collect()
    }

    /// Records what happened to a span.
    #[inline]
    pub(crate) fn note_fate(&self, trace_id: TraceId, note: Note<'_>) {
        if let Some(table) = &self.shared.explain {
            table.note(table.key(trace_id), &self.selector, note, 1);
        }
    }

    /// Records what happened to spans of several traces.
    pub(crate) fn note_fates(&self, spans: &[TraceKey], note: Note<'_>) {
        self.note_counts(&TraceCounts::of(spans), note);
    }

    /// Records the spans of a refused request of a client.
    #[cfg(feature = "encoded")]
    pub(crate) fn note_refused_payload(&self, payload: &Payload, caller: Option<&Slug>) {
        let keys = self.trace_keys(|| payload.trace_ids(0..payload.spans()).collect());
        self.note_fates(&keys, Note::Refused(caller));
    }

    /// Records the spans of a payload that an earlier process accepted.
    #[cfg(feature = "spool")]
    pub(super) fn note_accepted_payload(&self, payload: &Payload) {
        let keys = self.trace_keys(|| payload.trace_ids(0..payload.spans()).collect());
        self.note_fates(&keys, Note::Accepted(None));
    }

    /// Like [`note_fates`](Self::note_fates), for spans that are counted already.
    pub(crate) fn note_counts(&self, traces: &TraceCounts, note: Note<'_>) {
        if let Some(table) = &self.shared.explain {
            table.note_all(traces, &self.selector, note);
        }
    }
}
