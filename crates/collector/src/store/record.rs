//! A project in the store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::trace_index::TraceIndex;
use crate::model::{Dropped, Fingerprint, PostedEvent, Project, ProjectSummary, Session, Span};

/// Index of a project. Always valid, because projects are never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProjectId(pub(super) usize);

impl ProjectId {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Counts of a project that change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) is_named: bool,
    pub(crate) keys: usize,
    pub(crate) spans: usize,
    pub(crate) traces: usize,
    pub(crate) sessions: usize,
    pub(crate) events: usize,
    pub(crate) errors: usize,
    pub(crate) foreign: u64,
    pub(crate) requests: u64,
    /// Requests with another answer than success.
    pub(crate) refused: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    /// Spans since the start.
    pub(crate) received: u64,
    /// Time of the last request, in milliseconds since the Unix epoch.
    pub(crate) last_unix_millis: u64,
}

/// A value with its charged memory.
pub(super) struct Charged<T> {
    pub(super) value: Arc<T>,
    pub(super) bytes: usize,
}

/// Data of a project. Queues are in order of arrival.
pub(super) struct Record {
    /// Counts, except those that [`summary`](Self::summary) computes.
    pub(super) counts: ProjectSummary,
    pub(super) spans: VecDeque<Charged<Span>>,
    pub(super) sessions: HashMap<String, Charged<Session>>,
    pub(super) events: VecDeque<Charged<PostedEvent>>,
    pub(super) traces: TraceIndex,
    pub(super) received_spans: u64,
    last_unix_millis: u64,
}

impl Record {
    pub(super) fn new(key: Fingerprint) -> Self {
        Self {
            counts: ProjectSummary {
                name: None,
                fingerprint: key,
                keys: vec![key],
                spans: 0,
                traces: 0,
                sessions: 0,
                events: 0,
                requests: 0,
                answers: BTreeMap::new(),
                rejected_spans: 0,
                foreign: 0,
                duplicate_attributes: 0,
                dropped: Dropped::default(),
            },
            spans: VecDeque::new(),
            sessions: HashMap::new(),
            events: VecDeque::new(),
            traces: TraceIndex::default(),
            received_spans: 0,
            last_unix_millis: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        let cleared = Self::new(self.counts.keys[0]);
        let named = std::mem::replace(self, cleared).counts;
        (self.counts.name, self.counts.keys) = (named.name, named.keys);
    }

    pub(super) fn note_request(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_unix_millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    }

    pub(super) fn page_counts(&self) -> Counts {
        let answers = self.counts.answers.iter();
        let refused = answers.filter(|(status, _)| !(200..300).contains(*status));
        let dropped = self.counts.dropped;
        Counts {
            is_named: self.counts.name.is_some(),
            keys: self.counts.keys.len(),
            spans: self.spans.len(),
            traces: self.traces.traces(),
            sessions: self.sessions.len(),
            events: self.events.len(),
            errors: self.traces.errors(),
            foreign: self.counts.foreign,
            requests: self.counts.requests,
            refused: refused.map(|(_, count)| count).sum(),
            rejected: self.counts.rejected_spans,
            dropped: dropped.spans + dropped.sessions + dropped.events,
            received: self.received_spans,
            last_unix_millis: self.last_unix_millis,
        }
    }

    pub(super) fn is_event(&self, id: &str) -> bool {
        self.events.iter().any(|event| event.value.id == id)
    }

    pub(super) fn summary(&self) -> ProjectSummary {
        ProjectSummary {
            fingerprint: self.counts.keys[0],
            spans: self.spans.len(),
            traces: self.traces.traces(),
            sessions: self.sessions.len(),
            events: self.events.len(),
            ..self.counts.clone()
        }
    }

    pub(super) fn snapshot(&self) -> Project {
        let mut sessions: Vec<_> = self
            .sessions
            .values()
            .map(|session| Arc::clone(&session.value))
            .collect();
        sessions.sort_by_key(|session| session.sequence);
        Project {
            summary: self.summary(),
            spans: self.spans.iter().map(|span| Arc::clone(&span.value)).collect(),
            sessions,
            events: self.events.iter().map(|event| Arc::clone(&event.value)).collect(),
        }
    }
}
