//! Snapshot of a project.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::fingerprint::Fingerprint;
use super::posted_event::PostedEvent;
use super::session::Session;
use super::span::Span;
use super::text_tree::{TreeDetail, tree_with};

/// Counts of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectSummary {
    /// Name from the settings, if any.
    pub name: Option<String>,
    /// Fingerprint of the first key of the project.
    pub fingerprint: Fingerprint,
    /// Fingerprints of its keys. Several if they have the same name. A project whose only key moved
    /// to another project keeps that fingerprint.
    pub keys: Vec<Fingerprint>,
    /// Stored spans.
    pub spans: usize,
    /// Stored traces.
    pub traces: usize,
    /// Stored sessions.
    pub sessions: usize,
    /// Stored events from `POST /events`.
    pub events: usize,
    /// Requests with a key of the project.
    pub requests: u64,
    /// Responses by status. Excludes hanging and reset requests.
    pub answers: BTreeMap<u16, u64>,
    /// Spans rejected by partial success.
    pub rejected_spans: u64,
    /// Spans and session starts that state another owner than the project's name: in an attribute
    /// given to [`owner_attribute`](crate::CollectorBuilder::owner_attribute), or else in
    /// `tracer_registry.selector` of the resource. 0 for a project without a name.
    pub foreign: u64,
    /// Attributes of stored spans with a duplicate name.
    pub duplicate_attributes: u64,
    /// Data dropped to stay within the limits.
    pub dropped: Dropped,
}

/// Data that a project lost to the collector's limits, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dropped {
    /// Spans.
    pub spans: u64,
    /// Sessions.
    pub sessions: u64,
    /// Events from `POST /events`.
    pub events: u64,
}

/// Snapshot of a project. Cheap to create, because spans and sessions are shared.
#[derive(Clone, Debug)]
pub struct Project {
    pub(crate) summary: ProjectSummary,
    pub(crate) spans: Vec<Arc<Span>>,
    pub(crate) sessions: Vec<Arc<Session>>,
    pub(crate) events: Vec<Arc<PostedEvent>>,
}

impl Project {
    /// Returns the name from the settings, if any.
    pub fn name(&self) -> Option<&str> {
        self.summary.name.as_deref()
    }

    /// Returns the fingerprint of the first key of the project.
    pub fn fingerprint(&self) -> Fingerprint {
        self.summary.fingerprint
    }

    /// Returns the counts of the project.
    pub fn summary(&self) -> &ProjectSummary {
        &self.summary
    }

    /// Returns all spans in order of arrival.
    pub fn spans(&self) -> &[Arc<Span>] {
        &self.spans
    }

    /// Returns the first received span with a name.
    pub fn span_named(&self, name: &str) -> Option<&Span> {
        self.spans_named(name).next()
    }

    /// Returns all spans with a name, in order of arrival.
    pub fn spans_named(&self, name: &str) -> impl Iterator<Item = &Span> {
        self.spans.iter().map(Arc::as_ref).filter(move |span| span.name == name)
    }

    /// Returns all sessions in order of arrival.
    pub fn sessions(&self) -> &[Arc<Session>] {
        &self.sessions
    }

    /// Returns the session with an id.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.iter().map(Arc::as_ref).find(|session| session.id == id)
    }

    /// Returns the spans of a session, in order of arrival.
    pub fn spans_of_session(&self, id: &str) -> Vec<Arc<Span>> {
        self.spans
            .iter()
            .filter(|span| span.session_id.as_deref() == Some(id))
            .cloned()
            .collect()
    }

    /// Returns the events from `POST /events`, in order of arrival.
    pub fn events(&self) -> &[Arc<PostedEvent>] {
        &self.events
    }

    /// Returns all traces, in the order in which their first spans arrived.
    pub fn traces(&self) -> Vec<Trace> {
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        let mut traces: Vec<Trace> = Vec::new();
        for span in &self.spans {
            let position = *index.entry(&span.trace_id).or_insert_with(|| {
                traces.push(Trace {
                    trace_id: span.trace_id.clone(),
                    spans: Vec::new(),
                });
                traces.len() - 1
            });
            traces[position].spans.push(Arc::clone(span));
        }
        traces
    }

    /// Returns all spans as a text tree; see [`tree`](crate::tree()).
    pub fn tree(&self) -> String {
        tree_with(&self.spans, TreeDetail::Names)
    }
}

/// The spans of a project that share a trace id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// Spans in order of arrival.
    pub spans: Vec<Arc<Span>>,
}

impl Trace {
    /// Returns the trace as a text tree; see [`tree`](crate::tree()).
    pub fn tree(&self) -> String {
        tree_with(&self.spans, TreeDetail::Names)
    }
}
