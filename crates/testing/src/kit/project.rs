//! What a project of a test holds.

use std::sync::Arc;

use super::spans::Spans;
use tracer_registry_collector::{Project, Session, Trace};

/// A project as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct TestProject {
    name: String,
    /// `None` if no key of that name was ever read.
    held: Option<Project>,
}

impl TestProject {
    pub(super) fn new(name: &str, held: Option<Project>) -> Self {
        Self {
            name: name.to_owned(),
            held,
        }
    }

    /// All spans.
    pub fn spans(&self) -> Spans {
        Spans::all(&self.name, self.held.as_ref().map_or(&[], Project::spans))
    }

    /// Traces in the order in which their first spans arrived.
    pub fn traces(&self) -> Vec<Trace> {
        self.held.as_ref().map(Project::traces).unwrap_or_default()
    }

    /// Sessions in order of arrival, with their starts and enrichments.
    pub fn sessions(&self) -> &[Arc<Session>] {
        self.held.as_ref().map_or(&[], Project::sessions)
    }

    /// The only session.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn session(&self) -> &Session {
        let sessions = self.sessions();
        let [session] = sessions else {
            panic!("expected one session of {}, found {}", self.name, sessions.len());
        };
        session
    }

    /// All spans as a tree of names, for snapshots; see [`tree`](tracer_registry_collector::tree).
    pub fn tree(&self) -> String {
        self.spans().tree()
    }
}
