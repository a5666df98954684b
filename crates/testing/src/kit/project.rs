//! Contents of a project.

use std::sync::Arc;

use super::spans::Spans;
use tracer_registry_collector::{Project, Session, Trace};

/// Snapshot of a project.
#[derive(Clone, Debug)]
pub struct TestProject {
    name: String,
    /// `None` if the key of this project was never read.
    project: Option<Project>,
}

impl TestProject {
    pub(super) fn new(name: &str, project: Option<Project>) -> Self {
        Self {
            name: name.to_owned(),
            project,
        }
    }

    /// Returns all spans, in order of arrival.
    pub fn spans(&self) -> Spans {
        Spans::all(&self.name, self.project.as_ref().map_or(&[], Project::spans))
    }

    /// Returns all traces, in the order in which their first spans arrived.
    pub fn traces(&self) -> Vec<Trace> {
        self.project.as_ref().map(Project::traces).unwrap_or_default()
    }

    /// Returns all sessions with their starts and enrichments, in order of arrival.
    pub fn sessions(&self) -> &[Arc<Session>] {
        self.project.as_ref().map_or(&[], Project::sessions)
    }

    /// Returns the only session.
    ///
    /// # Panics
    /// If the project has no session, or more than one.
    #[track_caller]
    pub fn session(&self) -> &Session {
        let sessions = self.sessions();
        let [session] = sessions else {
            panic!("expected one session of {}, found {}", self.name, sessions.len());
        };
        session
    }

    /// Returns the names of all spans as a tree, for snapshot tests; see
    /// [`tree`](tracer_registry_collector::tree).
    pub fn tree(&self) -> String {
        self.spans().tree()
    }
}
