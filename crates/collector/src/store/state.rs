//! All projects, and where received data goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value};

use super::changes::Changes;
use super::record::{ProjectId, Record};
use super::retention::{Limits, Retention};
use crate::lock::lock;
use crate::model::{
    Fingerprint, OperationKind, OwnerAttributes, PostedEvent, Project, ProjectSummary, SessionOrigin, Span, byte_size,
};
use crate::otlp::Arrival;

/// Size of a session or an event without its bodies.
const SESSION_OVERHEAD_BYTES: usize = 1024;

/// Store of a collector.
pub(crate) struct Store {
    pub(super) state: Mutex<State>,
    pub(crate) owners: OwnerAttributes,
    pub(crate) changes: Changes,
}

pub(super) struct State {
    pub(super) records: Vec<Record>,
    pub(super) by_key: HashMap<Fingerprint, ProjectId>,
    pub(super) by_name: HashMap<String, ProjectId>,
    pub(super) retention: Retention,
    pub(super) max_projects: usize,
    pub(super) sequence: u64,
    pub(super) requests_without_key: u64,
    pub(super) refused_projects: u64,
}

impl Store {
    pub(crate) fn new(limits: Limits, owners: OwnerAttributes) -> Self {
        let state = State {
            records: Vec::new(),
            by_key: HashMap::new(),
            by_name: HashMap::new(),
            retention: Retention::new(limits),
            max_projects: limits.projects,
            sequence: 0,
            requests_without_key: 0,
            refused_projects: 0,
        };
        Self {
            state: Mutex::new(state),
            owners,
            changes: Changes::default(),
        }
    }

    /// Names the project of a key. If the name exists, adds the key to its project; the key's
    /// earlier project keeps its data.
    pub(crate) fn name(&self, name: &str, key: Fingerprint) {
        self.change(|state| {
            let unnamed = state
                .by_key
                .get(&key)
                .copied()
                .filter(|id| state.records[id.0].counts.name.is_none());
            let id = match (state.by_name.get(name), unnamed) {
                (Some(named), _) => *named,
                (None, Some(unnamed)) => unnamed,
                (None, None) => state.create_project(key),
            };
            let record = &mut state.records[id.0].counts;
            record.name = Some(name.to_owned());
            if !record.keys.contains(&key) {
                record.keys.push(key);
            }
            state.by_name.insert(name.to_owned(), id);
            let before = state.by_key.insert(key, id).filter(|before| *before != id);
            if let Some(before) = before {
                // Keep the last key, because the project is shown by its fingerprint.
                let keys = &mut state.records[before.0].counts.keys;
                if keys.len() > 1 {
                    keys.retain(|other| *other != key);
                }
            }
        });
    }

    /// Returns the id and name of a key's project, and counts a request. Creates a missing project;
    /// `None` if there are too many.
    pub(crate) fn open(&self, key: Fingerprint) -> Option<(ProjectId, Option<String>)> {
        self.change(|state| {
            let id = match state.by_key.get(&key) {
                Some(id) => *id,
                None if state.records.len() < state.max_projects => state.create_project(key),
                None => {
                    state.refused_projects += 1;
                    return None;
                }
            };
            let record = &mut state.records[id.0].counts;
            record.requests += 1;
            let name = record.name.clone();
            state.records[id.0].note_request();
            Some((id, name))
        })
    }

    pub(crate) fn count_without_key(&self) {
        self.change(|state| state.requests_without_key += 1);
    }

    pub(crate) fn count_answer(&self, id: ProjectId, status: u16) {
        self.change(|state| *state.records[id.0].counts.answers.entry(status).or_default() += 1);
    }

    /// Stores spans and creates their automatic sessions. Returns the stored spans.
    pub(crate) fn add_spans(&self, id: ProjectId, arrivals: Vec<Arrival>, rejected: u64) -> Vec<Arc<Span>> {
        self.change(|state| {
            state.records[id.0].counts.rejected_spans += rejected;
            let keep = |mut arrival: Arrival| {
                // The span is not shared yet, so this does not clone it.
                Arc::make_mut(&mut arrival.span).sequence = state.next();
                if let (Some(name), Some(session)) = (arrival.auto_session, &arrival.span.session_id) {
                    state.auto_session(id, session, name, arrival.span.source.as_deref());
                }
                state.records[id.0].counts.duplicate_attributes += u64::from(arrival.span.duplicate_attributes);
                let span = arrival.span;
                let record = &mut state.records[id.0];
                record.received_spans += 1;
                if self.owners.foreign_span(record.counts.name.as_deref(), &span).is_some() {
                    record.counts.foreign += 1;
                }
                state
                    .retention
                    .add_span(&mut state.records, id, Arc::clone(&span), arrival.bytes);
                span
            };
            arrivals.into_iter().map(keep).collect()
        })
    }

    /// Applies a start or an enrichment to a session or an event. Creates a missing session.
    pub(crate) fn apply(&self, id: ProjectId, target: &str, kind: OperationKind, body: Map<String, Value>) {
        self.change(|state| {
            // Stored twice: as sent, and merged.
            let bytes = 2 * byte_size::object(&body);
            if kind == OperationKind::Enrich && state.records[id.0].is_event(target) {
                return state
                    .retention
                    .enrich_event(&mut state.records, id, target, body, bytes);
            }
            let sequence = state.next();
            let bytes = bytes + state.ensure_session(id, target, SessionOrigin::EnrichedOnly, sequence);
            state
                .retention
                .change_session(&mut state.records, id, target, bytes, |session| {
                    session.apply(kind, body, sequence);
                });
            // The session may have been dropped at once.
            let record = &mut state.records[id.0];
            let name = record.counts.name.as_deref();
            if let (OperationKind::Start, Some(session)) = (kind, record.sessions.get(target))
                && self.owners.foreign_session(name, &session.value.metadata).is_some()
            {
                record.counts.foreign += 1;
            }
        });
    }

    pub(crate) fn add_event(&self, id: ProjectId, event_id: String, body: Map<String, Value>, key: Fingerprint) {
        self.change(|state| {
            let bytes = SESSION_OVERHEAD_BYTES + byte_size::object(&body);
            let event = PostedEvent::new(event_id, body, key, state.next());
            state.retention.add_event(&mut state.records, id, event, bytes);
        });
    }

    pub(crate) fn summaries(&self) -> Vec<ProjectSummary> {
        self.lock().records.iter().map(Record::summary).collect()
    }

    pub(crate) fn project_named(&self, name: &str) -> Option<Project> {
        let state = self.lock();
        state.by_name.get(name).map(|id| state.records[id.0].snapshot())
    }

    pub(crate) fn project_of(&self, key: Fingerprint) -> Option<Project> {
        let state = self.lock();
        state.by_key.get(&key).map(|id| state.records[id.0].snapshot())
    }

    /// Returns a project by its name or by one of its fingerprints.
    pub(crate) fn project_by_name_or_fingerprint(&self, text: &str) -> Option<Project> {
        let state = self.lock();
        state.find(text).map(|id| state.records[id.0].snapshot())
    }

    pub(crate) fn requests_without_key(&self) -> u64 {
        self.lock().requests_without_key
    }

    pub(crate) fn refused_projects(&self) -> u64 {
        self.lock().refused_projects
    }

    /// Removes all received data and counts. Projects keep their keys and names.
    pub(crate) fn clear(&self) {
        self.change(|state| {
            state.records.iter_mut().for_each(Record::clear);
            state.retention.clear();
            state.requests_without_key = 0;
            state.refused_projects = 0;
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.notify();
        result
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn create_project(&mut self, key: Fingerprint) -> ProjectId {
        let id = ProjectId(self.records.len());
        self.records.push(Record::new(key));
        self.by_key.insert(key, id);
        id
    }

    fn auto_session(&mut self, id: ProjectId, session_id: &str, name: String, source: Option<&str>) {
        if self.records[id.0].sessions.contains_key(session_id) {
            return;
        }
        let sequence = self.next();
        let bytes = self.ensure_session(id, session_id, SessionOrigin::AutoCreated, sequence);
        self.retention
            .change_session(&mut self.records, id, session_id, bytes, |session| {
                session.name = Some(name).filter(|name| !name.is_empty());
                session.source = source.map(str::to_owned);
            });
    }

    /// Creates a missing session. Returns the memory that this takes.
    fn ensure_session(&mut self, id: ProjectId, session_id: &str, origin: SessionOrigin, sequence: u64) -> usize {
        let created = self
            .retention
            .ensure_session(&mut self.records, id, session_id, origin, sequence);
        if created {
            SESSION_OVERHEAD_BYTES + 3 * session_id.len()
        } else {
            0
        }
    }
}
