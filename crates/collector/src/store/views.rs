//! What the page reads of the store. Each call holds the lock for a bounded time.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use super::record::{Counts, ProjectId, Record};
use super::state::{State, Store};
use super::trace_index::SessionUse;
use crate::model::{Fingerprint, Session, Span};

/// Name and fingerprint of a project.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) name: Option<String>,
    pub(crate) fingerprint: Fingerprint,
}

/// The spans of a trace in one project.
pub(crate) struct TraceSpans {
    pub(crate) project: ProjectId,
    pub(crate) spans: Vec<Arc<Span>>,
    /// Sequence of the last one.
    pub(crate) last: u64,
}

/// Changed projects, and counts without a project.
pub(crate) struct Changed {
    pub(crate) projects: Vec<(ProjectId, Label, Counts)>,
    /// Whether further projects have changed.
    pub(crate) is_partial: bool,
    pub(crate) requests_without_key: u64,
    pub(crate) refused_projects: u64,
}

/// A session, and the spans that name it. One of the two may be missing.
pub(crate) struct SessionView {
    pub(crate) id: String,
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) used: SessionUse,
}

impl SessionView {
    /// Sequence of the last change.
    pub(crate) fn last(&self) -> u64 {
        let changed = self.session.as_ref().map_or(0, |session| {
            session
                .operations
                .last()
                .map_or(session.sequence, |operation| operation.sequence)
        });
        changed.max(self.used.last)
    }
}

impl Store {
    /// Returns a project by its name or by one of its fingerprints.
    pub(crate) fn find(&self, text: &str) -> Option<ProjectId> {
        self.lock().find(text)
    }

    pub(crate) fn labels(&self, ids: impl IntoIterator<Item = ProjectId>) -> HashMap<usize, Label> {
        let state = self.lock();
        let label = |id: ProjectId| (id.0, label(&state.records[id.0]));
        ids.into_iter().map(label).collect()
    }

    /// Returns the traces with the newest spans before a sequence, newest first: of one project or
    /// of all. Ends after `max_traces`, or with the trace that reaches `max_spans`.
    pub(crate) fn newest_traces(
        &self,
        project: Option<ProjectId>,
        before: u64,
        max_traces: usize,
        max_spans: usize,
    ) -> Vec<TraceSpans> {
        let state = self.lock();
        let projects = project.map_or(0..state.records.len(), |id| id.0..id.0 + 1);
        let newest = |index: usize, before| Some((state.records[index].traces.newest_before(before)?.0, index));
        let mut heap: BinaryHeap<(u64, usize)> = projects.filter_map(|index| newest(index, before)).collect();
        let mut traces = Vec::new();
        let mut spans = 0;
        while traces.len() < max_traces && spans < max_spans {
            let Some((last, index)) = heap.pop() else { break };
            heap.extend(newest(index, last));
            let record = &state.records[index].traces;
            let found = record.newest_before(last + 1);
            let Some(of_trace) = found.and_then(|(_, id)| record.spans(id)) else {
                continue;
            };
            spans += of_trace.len();
            traces.push(TraceSpans {
                project: ProjectId(index),
                spans: of_trace.iter().cloned().collect(),
                last,
            });
        }
        traces
    }

    /// Returns the spans of a trace, in order of arrival.
    pub(crate) fn trace(&self, project: ProjectId, trace_id: &str) -> Option<TraceSpans> {
        let state = self.lock();
        let spans = state.records[project.0].traces.spans(trace_id)?;
        Some(TraceSpans {
            project,
            last: spans.back()?.sequence,
            spans: spans.iter().cloned().collect(),
        })
    }

    /// Returns which of these spans of a trace other projects have.
    pub(crate) fn elsewhere(&self, project: ProjectId, trace_id: &str, ids: &HashSet<&str>) -> BTreeMap<String, Label> {
        let mut found = BTreeMap::new();
        if ids.is_empty() {
            return found;
        }
        let state = self.lock();
        for (index, record) in state.records.iter().enumerate() {
            let spans = record.traces.spans(trace_id).filter(|_| index != project.0);
            for span in spans.into_iter().flatten().filter(|span| ids.contains(&*span.span_id)) {
                found.entry(span.span_id.clone()).or_insert_with(|| label(record));
            }
        }
        found
    }

    /// Returns the sessions of a project, in no order.
    pub(crate) fn sessions(&self, project: ProjectId) -> Vec<SessionView> {
        let state = self.lock();
        let record = &state.records[project.0];
        let used = record.traces.sessions();
        let stored = record.sessions.iter().map(|(id, session)| SessionView {
            id: id.clone(),
            session: Some(Arc::clone(&session.value)),
            used: used.get(id).copied().unwrap_or_default(),
        });
        let only_named = used.iter().filter(|(id, _)| !record.sessions.contains_key(*id));
        let only_named = only_named.map(|(id, used)| SessionView {
            id: id.clone(),
            session: None,
            used: *used,
        });
        stored.chain(only_named).collect()
    }

    pub(crate) fn session(&self, project: ProjectId, id: &str) -> Option<SessionView> {
        let state = self.lock();
        let record = &state.records[project.0];
        let session = record.sessions.get(id).map(|session| Arc::clone(&session.value));
        let used = record.traces.sessions().get(id).copied();
        (session.is_some() || used.is_some()).then(|| SessionView {
            id: id.to_owned(),
            session,
            used: used.unwrap_or_default(),
        })
    }

    /// Returns at most `max` projects with other counts than in `seen`, and changes `seen`.
    pub(crate) fn changed(&self, seen: &mut Vec<Option<Counts>>, max: usize) -> Changed {
        let state = self.lock();
        seen.resize(state.records.len(), None);
        let mut changed = Changed {
            projects: Vec::new(),
            is_partial: false,
            requests_without_key: state.requests_without_key,
            refused_projects: state.refused_projects,
        };
        for (index, (record, seen)) in state.records.iter().zip(seen).enumerate() {
            let counts = record.page_counts();
            if *seen == Some(counts) {
                continue;
            }
            if changed.projects.len() == max {
                changed.is_partial = true;
                break;
            }
            *seen = Some(counts);
            changed.projects.push((ProjectId(index), label(record), counts));
        }
        changed
    }
}

impl State {
    pub(super) fn find(&self, text: &str) -> Option<ProjectId> {
        let by_key = || self.by_key.iter().find(|(key, _)| key.to_string() == text);
        self.by_name.get(text).copied().or_else(|| by_key().map(|(_, id)| *id))
    }
}

fn label(record: &Record) -> Label {
    Label {
        name: record.counts.name.clone(),
        fingerprint: record.counts.keys[0],
    }
}
