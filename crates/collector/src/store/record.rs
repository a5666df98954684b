//! A project in the store.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::model::{Dropped, Fingerprint, PostedEvent, Project, ProjectSummary, Session, Span};

/// Index of a project. Always valid, because projects are never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProjectId(pub(super) usize);

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
                duplicate_attributes: 0,
                dropped: Dropped::default(),
            },
            spans: VecDeque::new(),
            sessions: HashMap::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        let cleared = Self::new(self.counts.keys[0]);
        let named = std::mem::replace(self, cleared).counts;
        (self.counts.name, self.counts.keys) = (named.name, named.keys);
    }

    pub(super) fn is_event(&self, id: &str) -> bool {
        self.events.iter().any(|event| event.value.id == id)
    }

    pub(super) fn summary(&self) -> ProjectSummary {
        let traces: HashSet<&str> = self.spans.iter().map(|span| span.value.trace_id.as_str()).collect();
        ProjectSummary {
            fingerprint: self.counts.keys[0],
            spans: self.spans.len(),
            traces: traces.len(),
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
