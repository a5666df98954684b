//! One project inside the store.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::model::{Dropped, Fingerprint, PostedEvent, Project, ProjectSummary, Session, Span};

/// Where a project is. Projects are never removed, so it stays good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProjectId(pub(super) usize);

/// A value and what it was charged for.
pub(super) struct Charged<T> {
    pub(super) value: Arc<T>,
    pub(super) bytes: usize,
}

/// What a project holds. Queues are in order of arrival.
pub(super) struct Record {
    pub(super) name: Option<String>,
    pub(super) keys: Vec<Fingerprint>,
    pub(super) spans: VecDeque<Charged<Span>>,
    pub(super) sessions: HashMap<String, Charged<Session>>,
    pub(super) events: VecDeque<Charged<PostedEvent>>,
    pub(super) requests: u64,
    pub(super) answers: BTreeMap<u16, u64>,
    pub(super) rejected_spans: u64,
    pub(super) duplicate_attributes: u64,
    pub(super) dropped: Dropped,
}

impl Record {
    pub(super) fn new(key: Fingerprint) -> Self {
        Self {
            name: None,
            keys: vec![key],
            spans: VecDeque::new(),
            sessions: HashMap::new(),
            events: VecDeque::new(),
            requests: 0,
            answers: BTreeMap::new(),
            rejected_spans: 0,
            duplicate_attributes: 0,
            dropped: Dropped::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let name = self.name.take();
        *self = Self {
            name,
            ..Self::new(keys[0])
        };
        self.keys = keys;
    }

    pub(super) fn is_event(&self, id: &str) -> bool {
        self.events.iter().any(|event| event.value.id == id)
    }

    pub(super) fn summary(&self) -> ProjectSummary {
        let traces: HashSet<&str> = self.spans.iter().map(|span| span.value.trace_id.as_str()).collect();
        ProjectSummary {
            name: self.name.clone(),
            fingerprint: self.keys[0],
            keys: self.keys.clone(),
            spans: self.spans.len(),
            traces: traces.len(),
            sessions: self.sessions.len(),
            events: self.events.len(),
            requests: self.requests,
            answers: self.answers.clone(),
            rejected_spans: self.rejected_spans,
            duplicate_attributes: self.duplicate_attributes,
            dropped: self.dropped,
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
