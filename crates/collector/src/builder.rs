//! How a collector is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CollectorError;
use crate::faults::list::Faults;
use crate::model::{Fingerprints, Received};
use crate::request::key_headers::KeyHeaders;
use crate::request::recorder::Recorder;
use crate::server::connections::ConnectionLimits;
use crate::server::serving::{Observer, Shared};
use crate::server::thread::Settings;
use crate::store::{Limits, Store};

const MIB: usize = 1024 * 1024;
/// More file descriptors than a process is given.
const MAX_CONNECTIONS: usize = 1 << 20;
const MAX_CLIENT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of a [`LocalCollector`](crate::LocalCollector); made by
/// [`LocalCollector::builder`](crate::LocalCollector::builder).
pub struct CollectorBuilder {
    listen: String,
    projects: Vec<(String, String)>,
    fingerprints: Fingerprints,
    limits: Limits,
    max_body_bytes: usize,
    connections: ConnectionLimits,
    allowed_hosts: Vec<String>,
    key_headers: Vec<String>,
    record_bytes: Option<usize>,
    observers: Vec<Observer>,
}

impl CollectorBuilder {
    pub(crate) fn new() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            projects: Vec::new(),
            fingerprints: Fingerprints::default(),
            limits: Limits {
                spans: 100_000,
                sessions: 10_000,
                events: 10_000,
                projects: 10_000,
                bytes: 256 * MIB,
            },
            max_body_bytes: 20 * MIB,
            connections: ConnectionLimits {
                connections: 512,
                client_timeout: Duration::from_secs(30),
            },
            allowed_hosts: Vec::new(),
            key_headers: Vec::new(),
            record_bytes: None,
            observers: Vec::new(),
        }
    }

    /// Where to listen, as `host:port`; port 0 takes a free one. Default `127.0.0.1:0`.
    ///
    /// What was received can be read without a key by all who reach the port, so it should stay on
    /// loopback. Clients that reach it by another name than `localhost` need
    /// [`allow_host`](Self::allow_host).
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Also takes requests for this host, a name or an address without a port, such as the name of its container. `"*"`
    /// takes all. Several may be given. Default: `localhost`, loopback addresses, and the address that it listens on.
    ///
    /// A request for any other host is answered with 421, whatever it asks for: a page of the web
    /// whose name was made to point at this machine (DNS rebinding) could read everything
    /// otherwise.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.push(host.into());
        self
    }

    /// Another header that carries keys, such as a binding's `auth.header`. It is read before `Authorization`: with the
    /// scheme `Bearer` or `Basic`, or as the key alone. Several may be given.
    pub fn key_header(mut self, name: impl Into<String>) -> Self {
        self.key_headers.push(name.into());
        self
    }

    /// Gives the project of a key a name. Several keys with one name open one project, as after a rotation.
    pub fn project(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.projects.push((name.into(), key.into()));
        self
    }

    /// Sets the function that makes fingerprints of keys, 48 bits of a hash. With that of a registry both show the same
    /// for one key. Default: a hash under a random value of this collector.
    pub fn fingerprints(mut self, make: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        self.fingerprints = Fingerprints::new(make);
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

    /// How many bytes of memory, by estimate, spans and sessions and events may take before the
    /// oldest give way. Default 256 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// How large a body may be, in bytes, as it comes and once more after decompression. Default 20 MiB.
    ///
    /// Three more bounds follow from it. The content of one body takes at most ten times as much
    /// memory; a request that would take more is answered with 413. All requests and pages on their
    /// way together hold at most four times as much, or 64 MiB if that is more; a request over it
    /// is answered with 503 and `Retry-After`.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// How many connections there may be, at least one. Default 512. If one more comes, the oldest
    /// are closed: at once if they are idle, else after the request that they serve.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections.connections = connections.clamp(1, MAX_CONNECTIONS);
        self
    }

    /// How long a client may take for the head of a request, how long for each part of its body
    /// (ten times as long for the whole), and how long it may neither send nor take a byte between
    /// requests. Default 30 s, at most 24 hours. A body that is late is answered with 408, else the
    /// connection ends.
    pub fn client_timeout(mut self, timeout: Duration) -> Self {
        self.connections.client_timeout = timeout.clamp(Duration::from_millis(1), MAX_CLIENT_TIMEOUT);
        self
    }

    /// Keeps whole requests, the newest up to `max_bytes`, without their keys. Default: none are kept.
    ///
    /// Headers that carry keys ([`key_header`](Self::key_header) and those that are known) have the
    /// value `redacted`. If none of them is in a request, so has every header that could be another
    /// one.
    pub fn record_requests(mut self, max_bytes: usize) -> Self {
        self.record_bytes = Some(max_bytes);
        self
    }

    /// Called with each answered request that carried a key, before the answer is written. It runs on the server's
    /// thread: while it does, nothing is served, and if it panics the request stays unanswered. Several may be given.
    pub fn observer(mut self, observer: impl Fn(&Received) + Send + Sync + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    pub(crate) fn into_parts(self) -> Result<(Arc<Shared>, Settings), CollectorError> {
        let key_headers = self.key_headers.into_iter();
        let key_headers = key_headers.map(|name| name.parse().map_err(|_| CollectorError::KeyHeader { name }));
        let key_headers = KeyHeaders::new(key_headers.collect::<Result<_, _>>()?);
        let store = Store::new(self.limits);
        for (name, key) in &self.projects {
            store.name(name, self.fingerprints.of(key.as_bytes()));
        }
        let shared = Arc::new(Shared {
            store,
            faults: Faults::new(),
            recorder: self.record_bytes.map(Recorder::new),
            observers: self.observers,
            fingerprints: self.fingerprints,
            key_headers,
            max_body_bytes: self.max_body_bytes,
        });
        let settings = Settings {
            listen: self.listen,
            allowed_hosts: self.allowed_hosts,
            connections: self.connections,
        };
        Ok((shared, settings))
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
            .field("connections", &self.connections)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("key_headers", &self.key_headers)
            .field("record_bytes", &self.record_bytes)
            .finish_non_exhaustive()
    }
}
