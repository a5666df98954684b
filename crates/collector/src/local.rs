//! The collector as its owner sees it.

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

/// A running collector. It stops when dropped; what it received can be read until then, also after
/// [`shutdown`](Self::shutdown).
pub struct LocalCollector {
    server: Server,
    shared: Arc<Shared>,
}

impl LocalCollector {
    /// Settings to start from.
    pub fn builder() -> CollectorBuilder {
        CollectorBuilder::new()
    }

    /// Starts on a free port of loopback with the default settings.
    ///
    /// # Errors
    /// As [`CollectorBuilder::start`].
    pub fn start() -> Result<Self, CollectorError> {
        Self::builder().start()
    }

    /// `http://host:port`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.address()
    }

    /// All projects, in the order in which they were named or first seen.
    pub fn projects(&self) -> Vec<ProjectSummary> {
        self.shared.store.summaries()
    }

    /// The project with a name, as it is now; `None` if no key was given that name.
    pub fn project(&self, name: &str) -> Option<Project> {
        self.shared.store.project_named(name)
    }

    /// The project that a key opens, as it is now; `None` if the key was neither named nor seen.
    pub fn project_of_key(&self, key: &str) -> Option<Project> {
        self.shared.store.project_of(self.fingerprint(key))
    }

    /// The project that a fingerprint stands for, as it is now.
    pub fn project_of_fingerprint(&self, fingerprint: Fingerprint) -> Option<Project> {
        self.shared.store.project_of(fingerprint)
    }

    /// Gives the project of a key a name from now on. Several keys with one name open one project, as after a rotation;
    /// what a key brought before it was named so stays where it was.
    pub fn name_project(&self, name: &str, key: &str) {
        self.shared.store.name(name, self.fingerprint(key));
    }

    /// The fingerprint that stands for a key here.
    pub fn fingerprint(&self, key: &str) -> Fingerprint {
        self.shared.fingerprints.of(key.as_bytes())
    }

    /// How many requests for an endpoint carried no key.
    pub fn requests_without_key(&self) -> u64 {
        self.shared.store.requests_without_key()
    }

    /// How many requests were refused because there are as many projects as there may be.
    pub fn refused_projects(&self) -> u64 {
        self.shared.store.refused_projects()
    }

    /// Misbehaves from now on. Of several faults that fit a request, the one added first holds.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.shared.faults.add(fault, &self.shared.fingerprints)
    }

    /// How many requests met a fault, also after it was cleared.
    pub fn fault_hits(&self, fault: FaultId) -> u64 {
        self.shared.faults.hits(fault)
    }

    /// Ends one fault. Requests that hang by it are served.
    pub fn clear_fault(&self, fault: FaultId) {
        self.shared.faults.clear(fault);
    }

    /// Ends all faults. Requests that hang are served.
    pub fn clear_faults(&self) {
        self.shared.faults.clear_all();
    }

    /// The recorded requests in order of arrival; none unless [`CollectorBuilder::record_requests`] was asked for.
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.shared.recorder.as_ref().map_or_else(Vec::new, Recorder::requests)
    }

    /// How many recorded requests gave way to newer ones.
    pub fn dropped_requests(&self) -> u64 {
        self.shared.recorder.as_ref().map_or(0, Recorder::dropped)
    }

    /// Forgets what was received and every count. Faults stay, and so do names.
    pub fn clear(&self) {
        if let Some(recorder) = &self.shared.recorder {
            recorder.clear();
        }
        self.shared.store.clear();
    }

    /// Waits until `holds` says yes: it is asked now and after everything that arrives. Says whether it did within
    /// `timeout`.
    ///
    /// Blocks the thread; in asynchronous code, do so only if the sender does not need this thread.
    pub fn wait_until(&self, timeout: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        self.shared.store.changes.wait_until(timeout, || holds(self))
    }

    /// Closes the port, breaks open connections and waits for the server's thread, which takes no
    /// longer than an observer that runs just now. What was received stays. Again, it does nothing.
    pub fn shutdown(&self) {
        self.server.stop();
    }
}

impl CollectorBuilder {
    /// Starts to listen; when this returns the port is open.
    ///
    /// # Errors
    /// [`CollectorError::Listen`] if the address cannot be listened on;
    /// [`CollectorError::KeyHeader`] if a name given to [`key_header`](Self::key_header) is none;
    /// the others if the system gives no thread or no reactor.
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
