//! Handle of a running collector.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::CollectorBuilder;
use crate::error::CollectorError;
use crate::faults::fault::Fault;
use crate::faults::list::FaultId;
use crate::model::{Fingerprint, Project, ProjectSummary};
use crate::request::recorder::{RecordedRequest, Recorder};
use crate::server::serving::Shared;
use crate::server::thread::Server;

/// A running collector. Stops when dropped. Received data stays readable after
/// [`shutdown`](Self::shutdown).
pub struct LocalCollector {
    server: Server,
    shared: Arc<Shared>,
}

impl LocalCollector {
    /// Returns a builder with the default settings.
    pub fn builder() -> CollectorBuilder {
        CollectorBuilder::new()
    }

    /// Starts a collector on a free loopback port with the default settings.
    ///
    /// # Errors
    /// See [`CollectorBuilder::start`].
    pub fn start() -> Result<Self, CollectorError> {
        Self::builder().start()
    }

    /// Returns `http://host:port`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the summaries of all projects, in the order in which they were named or first seen.
    pub fn projects(&self) -> Vec<ProjectSummary> {
        self.shared.store.summaries()
    }

    /// Returns a snapshot of a named project. `None` if no key has the name.
    pub fn project(&self, name: &str) -> Option<Project> {
        self.shared.store.project_named(name)
    }

    /// Returns a snapshot of a key's project. `None` if the key was neither named nor received.
    pub fn project_of_key(&self, key: &str) -> Option<Project> {
        self.shared.store.project_of(self.fingerprint(key))
    }

    /// Returns a snapshot of the project of a key with this fingerprint.
    pub fn project_of_fingerprint(&self, fingerprint: Fingerprint) -> Option<Project> {
        self.shared.store.project_of(fingerprint)
    }

    /// Names the project of a key. Several keys with the same name belong to one project, as after
    /// a rotation. Data that a key delivered before stays in its earlier project.
    pub fn name_project(&self, name: &str, key: &str) {
        self.shared.store.name(name, self.fingerprint(key));
    }

    /// Returns the fingerprint of a key.
    pub fn fingerprint(&self, key: &str) -> Fingerprint {
        self.shared.fingerprints.of(key.as_bytes())
    }

    /// Returns the number of requests to an endpoint without a key.
    pub fn requests_without_key(&self) -> u64 {
        self.shared.store.requests_without_key()
    }

    /// Returns the number of requests refused because of
    /// [`max_projects`](CollectorBuilder::max_projects).
    pub fn refused_projects(&self) -> u64 {
        self.shared.store.refused_projects()
    }

    /// Adds a fault. If several faults match a request, the first one added applies.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.shared.faults.add(fault, &self.shared.fingerprints)
    }

    /// Returns the number of requests that a fault applied to, also after it was cleared.
    pub fn fault_hits(&self, fault: FaultId) -> u64 {
        self.shared.faults.hits(fault)
    }

    /// Clears a fault. Requests that it made hang are served.
    pub fn clear_fault(&self, fault: FaultId) {
        self.shared.faults.clear(fault);
    }

    /// Clears all faults. Hanging requests are served.
    pub fn clear_faults(&self) {
        self.shared.faults.clear_all();
    }

    /// Returns the recorded requests in order of arrival. Empty without
    /// [`CollectorBuilder::record_requests`].
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.shared.recorder.as_ref().map_or_else(Vec::new, Recorder::requests)
    }

    /// Returns the number of recorded requests that were dropped for newer ones.
    pub fn dropped_requests(&self) -> u64 {
        self.shared.recorder.as_ref().map_or(0, Recorder::dropped)
    }

    /// Removes all received data and counts. Keeps faults and project names.
    pub fn clear(&self) {
        if let Some(recorder) = &self.shared.recorder {
            recorder.clear();
        }
        self.shared.store.clear();
    }

    /// Waits until `condition` returns true. Calls it now and after each change. Returns false
    /// after `timeout`.
    ///
    /// Blocks the thread. In async code, the sender must not need this thread.
    pub fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        self.shared.store.changes.wait_until(timeout, || condition(self))
    }

    /// Closes the port and all connections, and waits for the server's thread, at most until a
    /// running observer returns. Keeps the received data. Further calls do nothing.
    pub fn shutdown(&self) {
        self.server.stop();
    }
}

impl CollectorBuilder {
    /// Starts the collector. The port is open when this returns.
    ///
    /// # Errors
    /// [`CollectorError::Listen`] if it cannot listen on the address; [`CollectorError::KeyHeader`]
    /// if a name given to [`key_header`](Self::key_header) is invalid; the others if the system
    /// cannot create a thread or a reactor.
    pub fn start(self) -> Result<LocalCollector, CollectorError> {
        let (shared, settings) = self.into_parts()?;
        let server = Server::start(&settings, Arc::clone(&shared))?;
        Ok(LocalCollector { server, shared })
    }
}

impl fmt::Debug for LocalCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCollector")
            .field("url", &self.url())
            .field("projects", &self.projects())
            .finish()
    }
}
