//! The spans of a project by trace and session, so that lists of the newest need no walk over all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::model::{Span, StatusCode};

/// Index of the stored spans of a project. They leave it in the order in which they arrived.
#[derive(Default)]
pub(super) struct TraceIndex {
    traces: HashMap<Arc<str>, Entry>,
    /// Trace ids by the sequence of their last span.
    by_recency: BTreeMap<u64, Arc<str>>,
    sessions: HashMap<String, SessionUse>,
    errors: usize,
}

struct Entry {
    spans: VecDeque<Arc<Span>>,
    last: u64,
}

/// Spans that name a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionUse {
    pub(crate) spans: usize,
    pub(crate) errors: usize,
    /// Sequence of the last of them.
    pub(crate) last: u64,
}

impl TraceIndex {
    pub(super) fn add(&mut self, span: &Arc<Span>) {
        let is_error = is_error(span);
        self.errors += usize::from(is_error);
        if let Some(session) = &span.session_id {
            let used = self.sessions.entry(session.clone()).or_default();
            used.spans += 1;
            used.errors += usize::from(is_error);
            used.last = span.sequence;
        }
        if let Some(entry) = self.traces.get_mut(span.trace_id.as_str()) {
            if let Some(id) = self.by_recency.remove(&entry.last) {
                self.by_recency.insert(span.sequence, id);
            }
            entry.last = span.sequence;
            entry.spans.push_back(Arc::clone(span));
            return;
        }
        let id: Arc<str> = span.trace_id.as_str().into();
        self.by_recency.insert(span.sequence, Arc::clone(&id));
        let entry = Entry {
            spans: VecDeque::from([Arc::clone(span)]),
            last: span.sequence,
        };
        self.traces.insert(id, entry);
    }

    /// Removes the oldest span.
    pub(super) fn remove(&mut self, span: &Span) {
        let is_error = is_error(span);
        self.errors -= usize::from(is_error);
        if let Some(session) = &span.session_id
            && let Some(used) = self.sessions.get_mut(session)
        {
            used.spans -= 1;
            used.errors -= usize::from(is_error);
            if used.spans == 0 {
                self.sessions.remove(session);
            }
        }
        if let Some(entry) = self.traces.get_mut(span.trace_id.as_str()) {
            entry.spans.pop_front();
            if entry.spans.is_empty() {
                let last = entry.last;
                self.by_recency.remove(&last);
                self.traces.remove(span.trace_id.as_str());
            }
        }
    }

    pub(super) fn traces(&self) -> usize {
        self.traces.len()
    }

    /// Number of spans with the status error.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn spans(&self, trace_id: &str) -> Option<&VecDeque<Arc<Span>>> {
        self.traces.get(trace_id).map(|entry| &entry.spans)
    }

    /// Returns the trace with the newest span before a sequence, and that span's sequence.
    pub(super) fn newest_before(&self, before: u64) -> Option<(u64, &Arc<str>)> {
        self.by_recency
            .range(..before)
            .next_back()
            .map(|(last, trace)| (*last, trace))
    }

    pub(super) fn sessions(&self) -> &HashMap<String, SessionUse> {
        &self.sessions
    }
}

fn is_error(span: &Span) -> bool {
    span.status.code == StatusCode::Error
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Fingerprints;

    fn span(sequence: u64, trace: u8, session: Option<u8>, is_error: bool) -> Arc<Span> {
        let status = if is_error { StatusCode::Error } else { StatusCode::Unset };
        Arc::new(Span {
            trace_id: format!("{trace:032x}"),
            span_id: format!("{sequence:016x}"),
            parent_span_id: None,
            name: String::new(),
            kind: crate::SpanKind::Internal,
            start_unix_nanos: 0,
            end_unix_nanos: 0,
            attributes: crate::Attributes::new(),
            duplicate_attributes: 0,
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            status: crate::SpanStatus {
                code: status,
                message: String::new(),
            },
            trace_state: String::new(),
            flags: 0,
            resource: Arc::default(),
            scope: Arc::default(),
            session_id: session.map(|session| session.to_string()),
            source: None,
            key: Fingerprints::default().of(b"key"),
            sequence,
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_walk_over_the_stored_spans(
            steps in prop::collection::vec((0..6u8, prop::option::of(0..3u8), any::<bool>(), 0..4u8), 0..80)
        ) {
            let mut index = TraceIndex::default();
            let mut stored: VecDeque<Arc<Span>> = VecDeque::new();
            for (sequence, (trace, session, is_error, removed)) in (1..).zip(steps) {
                let added = span(sequence, trace, session, is_error);
                index.add(&added);
                stored.push_back(added);
                // Removes the oldest of one trace in four steps.
                if removed == 0 && let Some(oldest) = stored.pop_front() {
                    index.remove(&oldest);
                }
                let ids: HashSet<&str> = stored.iter().map(|span| span.trace_id.as_str()).collect();
                prop_assert_eq!(index.traces(), ids.len());
                prop_assert_eq!(index.errors(), stored.iter().filter(|span| super::is_error(span)).count());
                let mut newest = Vec::new();
                let mut before = u64::MAX;
                while let Some((last, id)) = index.newest_before(before) {
                    before = last;
                    let spans = index.spans(id).unwrap();
                    prop_assert_eq!(spans.back().unwrap().sequence, last);
                    let walked: Vec<_> = stored.iter().filter(|span| span.trace_id == **id).cloned().collect();
                    prop_assert_eq!(spans.iter().cloned().collect::<Vec<_>>(), walked);
                    newest.push(last);
                }
                prop_assert_eq!(newest.len(), ids.len());
                prop_assert!(newest.is_sorted_by(|one, other| one > other));
                for (session, used) in index.sessions() {
                    let spans = stored.iter().filter(|span| span.session_id.as_ref() == Some(session));
                    prop_assert_eq!(used.spans, spans.count());
                }
            }
        }
    }
}
