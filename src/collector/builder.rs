//! How a collector is set up.

use std::fmt;
use std::sync::Arc;

use super::error::CollectorError;
use super::faults::Faults;
use super::local::LocalCollector;
use super::received::Received;
use super::recorder::Recorder;
use super::server::Server;
use super::shared::{Observer, Shared};
use super::store::{Limits, Store};
use crate::secret::Fingerprinter;

const MIB: usize = 1024 * 1024;

/// Settings of a [`LocalCollector`]; made by [`LocalCollector::builder`].
pub struct CollectorBuilder {
    listen: String,
    projects: Vec<(String, String)>,
    fingerprinter: Fingerprinter,
    limits: Limits,
    max_body_bytes: usize,
    record_bytes: Option<usize>,
    observers: Vec<Observer>,
}

impl CollectorBuilder {
    pub(super) fn new() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            projects: Vec::new(),
            fingerprinter: Fingerprinter::new(),
            limits: Limits {
                spans: 100_000,
                sessions: 10_000,
                events: 10_000,
                projects: 10_000,
                bytes: 256 * MIB,
            },
            max_body_bytes: 20 * MIB,
            record_bytes: None,
            observers: Vec::new(),
        }
    }

    /// Where to listen, as `host:port`; port 0 takes a free one. Default `127.0.0.1:0`.
    ///
    /// What was received can be read without a key by all who reach the port, so it should stay on loopback.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Gives the project of a key a name. Several keys with one name open one project, as after a rotation.
    pub fn project(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.projects.push((name.into(), key.into()));
        self
    }

    /// What makes fingerprints of keys; give that of a registry to get its fingerprints. Default: one of its own.
    pub fn fingerprinter(mut self, fingerprinter: Fingerprinter) -> Self {
        self.fingerprinter = fingerprinter;
        self
    }

    /// How many spans are held over all projects before the oldest give way. Default 100 000.
    pub fn max_spans(mut self, spans: usize) -> Self {
        self.limits.spans = spans;
        self
    }

    /// How many sessions, and how many events, are held over all projects before the oldest give way. Default 10 000.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.limits.sessions = sessions;
        self.limits.events = sessions;
        self
    }

    /// How many projects there may be. Default 10 000. A request with yet another key is answered with 503 and counted;
    /// projects named by the caller are always made.
    pub fn max_projects(mut self, projects: usize) -> Self {
        self.limits.projects = projects;
        self
    }

    /// How many bytes of memory, by estimate, spans and sessions and events may take before the oldest give way. Default
    /// 256 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// How large a body may be, in bytes, as it comes and once more after decompression. Default 20 MiB.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Keeps whole requests, the newest up to `max_bytes`, without their keys. Default: none are kept.
    pub fn record_requests(mut self, max_bytes: usize) -> Self {
        self.record_bytes = Some(max_bytes);
        self
    }

    /// Is called with each answered request that carried a key, before the answer is written. It runs on the server's
    /// thread: while it does, nothing is served, and where it panics the request stays unanswered. Several may be given.
    pub fn observer(mut self, observer: impl Fn(&Received) + Send + Sync + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Starts to listen; when this returns the port is open.
    ///
    /// # Errors
    /// [`CollectorError::Listen`] where the address cannot be listened on; the others where the system gives no thread or
    /// no reactor.
    pub fn start(self) -> Result<LocalCollector, CollectorError> {
        let store = Store::new(self.limits);
        for (name, key) in &self.projects {
            store.name(name, self.fingerprinter.fingerprint(key.as_bytes()));
        }
        let shared = Arc::new(Shared {
            store,
            faults: Faults::new(),
            recorder: self.record_bytes.map(Recorder::new),
            observers: self.observers,
            fingerprinter: self.fingerprinter,
            max_body_bytes: self.max_body_bytes,
        });
        let server = Server::start(&self.listen, Arc::clone(&shared))?;
        Ok(LocalCollector::new(server, shared))
    }
}

// By hand: the keys must not be printed, and observers cannot be.
impl fmt::Debug for CollectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorBuilder")
            .field("listen", &self.listen)
            .field(
                "projects",
                &self.projects.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("limits", &self.limits)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("record_bytes", &self.record_bytes)
            .finish_non_exhaustive()
    }
}
