//! What a project holds, as it was at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::fingerprint::Fingerprint;
use super::posted_event::PostedEvent;
use super::session::Session;
use super::span::Span;
use super::text_tree::{TreeDetail, tree_with};

/// Counts of one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectSummary {
    /// The name that the caller gave, if any.
    pub name: Option<String>,
    /// Fingerprint of the first key of the project.
    pub fingerprint: Fingerprint,
    /// Fingerprints of the keys that open it; more than one if several keys were given the same name. A project whose
    /// only key was given to another one is still shown by it.
    pub keys: Vec<Fingerprint>,
    /// Spans held.
    pub spans: usize,
    /// Traces held.
    pub traces: usize,
    /// Sessions held.
    pub sessions: usize,
    /// Events held that were posted by themselves.
    pub events: usize,
    /// Requests that came with a key of the project.
    pub requests: u64,
    /// How many of them were answered, by status. Those that hang or were reset are in none.
    pub answers: BTreeMap<u16, u64>,
    /// Spans refused by partial success.
    pub rejected_spans: u64,
    /// Attributes of stored spans that came under a name that was already there.
    pub duplicate_attributes: u64,
    /// What was given up to stay within the bounds.
    pub dropped: Dropped,
}

/// What a project lost to the collector's bounds, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dropped {
    /// Spans.
    pub spans: u64,
    /// Sessions.
    pub sessions: u64,
    /// Events that were posted by themselves.
    pub events: u64,
}

/// A project as it was when it was asked for; cheap to make, since spans and sessions are shared.
#[derive(Clone, Debug)]
pub struct Project {
    pub(crate) summary: ProjectSummary,
    pub(crate) spans: Vec<Arc<Span>>,
    pub(crate) sessions: Vec<Arc<Session>>,
    pub(crate) events: Vec<Arc<PostedEvent>>,
}

impl Project {
    /// The name that the caller gave, if any.
    pub fn name(&self) -> Option<&str> {
        self.summary.name.as_deref()
    }

    /// Fingerprint of the first key of the project.
    pub fn fingerprint(&self) -> Fingerprint {
        self.summary.fingerprint
    }

    /// Its counts.
    pub fn summary(&self) -> &ProjectSummary {
        &self.summary
    }

    /// Spans in order of arrival.
    pub fn spans(&self) -> &[Arc<Span>] {
        &self.spans
    }

    /// The first span to arrive under a name.
    pub fn span_named(&self, name: &str) -> Option<&Span> {
        self.spans_named(name).next()
    }

    /// All spans of a name, in order of arrival.
    pub fn spans_named(&self, name: &str) -> impl Iterator<Item = &Span> {
        self.spans.iter().map(Arc::as_ref).filter(move |span| span.name == name)
    }

    /// Sessions in order of arrival.
    pub fn sessions(&self) -> &[Arc<Session>] {
        &self.sessions
    }

    /// The session with an id.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.iter().map(Arc::as_ref).find(|session| session.id == id)
    }

    /// Spans that name a session, in order of arrival.
    pub fn spans_of_session(&self, id: &str) -> Vec<Arc<Span>> {
        self.spans
            .iter()
            .filter(|span| span.session_id.as_deref() == Some(id))
            .cloned()
            .collect()
    }

    /// Events that were posted by themselves, in order of arrival.
    pub fn events(&self) -> &[Arc<PostedEvent>] {
        &self.events
    }

    /// Traces in the order in which their first spans arrived.
    pub fn traces(&self) -> Vec<Trace> {
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        let mut traces: Vec<Trace> = Vec::new();
        for span in &self.spans {
            let place = *index.entry(&span.trace_id).or_insert_with(|| {
                traces.push(Trace {
                    trace_id: span.trace_id.clone(),
                    spans: Vec::new(),
                });
                traces.len() - 1
            });
            traces[place].spans.push(Arc::clone(span));
        }
        traces
    }

    /// All spans of the project as text; see [`tree`](crate::tree()).
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
    /// Its spans in order of arrival.
    pub spans: Vec<Arc<Span>>,
}

impl Trace {
    /// The trace as text; see [`tree`](crate::tree()).
    pub fn tree(&self) -> String {
        tree_with(&self.spans, TreeDetail::Names)
    }
}
