//! Settings of a collector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::CollectorError;
use crate::faults::list::Faults;
use crate::model::{Fingerprints, OwnerAttributes, Received};
use crate::request::key_headers::KeyHeaders;
use crate::request::recorder::Recorder;
use crate::server::connections::ConnectionLimits;
use crate::server::serving::{Observer, Shared};
use crate::server::thread::Settings;
use crate::store::{Limits, Store};

const MIB: usize = 1024 * 1024;
/// More than the file descriptor limit of a process.
const MAX_CONNECTIONS: usize = 1 << 20;
const MAX_CLIENT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of a [`LocalCollector`](crate::LocalCollector), created with
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
    owner_attributes: Vec<String>,
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
            owner_attributes: Vec::new(),
            record_bytes: None,
            observers: Vec::new(),
        }
    }

    /// Sets the address to listen on, as `host:port`. Port 0 selects a free one. Default
    /// `127.0.0.1:0`.
    ///
    /// Every client that reaches the port can read all data without a key, so it should stay on
    /// loopback. Requests for a host other than `localhost` need [`allow_host`](Self::allow_host).
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Allows another host: a name or an address without a port, such as the name of a container.
    /// `"*"` allows all. Repeatable. Default: `localhost`, loopback addresses, and the listen
    /// address.
    ///
    /// A request for any other host gets 421. Otherwise a web page with a name that resolves to
    /// this machine (DNS rebinding) could read all data.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allowed_hosts.push(host.into());
        self
    }

    /// Adds a header with keys, such as a binding's `auth.header`. It takes precedence over
    /// `Authorization`, and contains `Bearer k`, `Basic base64(k)` or the key itself. Repeatable.
    pub fn key_header(mut self, name: impl Into<String>) -> Self {
        self.key_headers.push(name.into());
        self
    }

    /// Names the project of a key. Several keys with the same name belong to one project, as after
    /// a rotation.
    pub fn project(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.projects.push((name.into(), key.into()));
        self
    }

    /// Adds an attribute of spans, resources and session metadata that states the owner of the
    /// data. Data that states another owner than its project's name counts as
    /// [`foreign`](crate::ProjectSummary::foreign), and the page shows it in red. Repeatable.
    /// Default: the resource attribute `tracer_registry.selector`, which applies to data without
    /// the others. The owner `tenant:acme` also owns the project `acme`.
    pub fn owner_attribute(mut self, name: impl Into<String>) -> Self {
        self.owner_attributes.push(name.into());
        self
    }

    /// Sets the function that returns the fingerprint of a key, 48 bits of a hash. With the
    /// function of a registry, both have the same fingerprints. Default: a hash with a random key
    /// per collector.
    pub fn fingerprints(mut self, make: impl Fn(&[u8]) -> u64 + Send + Sync + 'static) -> Self {
        self.fingerprints = Fingerprints::new(make);
        self
    }

    /// Sets the maximum number of spans in all projects. Above it, the oldest are dropped. Default
    /// 100 000.
    pub fn max_spans(mut self, spans: usize) -> Self {
        self.limits.spans = spans;
        self
    }

    /// Sets the maximum number of sessions, and also of events, in all projects. Above it, the
    /// oldest are dropped. Default 10 000.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.limits.sessions = sessions;
        self.limits.events = sessions;
        self
    }

    /// Sets the maximum number of projects. Default 10 000. A request with a further key gets 503
    /// and is counted. Named projects are always created.
    pub fn max_projects(mut self, projects: usize) -> Self {
        self.limits.projects = projects;
        self
    }

    /// Sets the maximum memory of spans, sessions and events in bytes, an estimate. Above it, the
    /// oldest are dropped. Default 256 MiB.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets the maximum size of a body in bytes, before and after decompression. Default 20 MiB.
    ///
    /// Two more limits depend on it. The decoded content of a body may take ten times as much
    /// memory, at least 16 MiB; a larger one gets 413. All requests and pages in progress may
    /// together hold four times as much, at least 64 MiB; a request above that gets 503 and
    /// `Retry-After`.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets the maximum number of connections, at least one. Default 512. A further connection
    /// closes the oldest ones: at once if they are idle, otherwise after their current request.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections.connections = connections.clamp(1, MAX_CONNECTIONS);
        self
    }

    /// Sets the time limit for the head of a request, for each part of its body (ten times as long
    /// for the whole body), and for silence between requests. Default 30 s, at most 24 hours. A
    /// late body gets 408; otherwise the connection is closed.
    pub fn client_timeout(mut self, timeout: Duration) -> Self {
        self.connections.client_timeout = timeout.clamp(Duration::from_millis(1), MAX_CLIENT_TIMEOUT);
        self
    }

    /// Records the newest requests, up to `max_bytes`, without their keys. Default: no recording.
    ///
    /// Headers with keys ([`key_header`](Self::key_header) and the known ones) have the value
    /// `redacted`. In a request without any of them, every header that could contain a key has it.
    pub fn record_requests(mut self, max_bytes: usize) -> Self {
        self.record_bytes = Some(max_bytes);
        self
    }

    /// Adds a function that is called with each request that has a key, before the response is
    /// sent. It runs on the server's thread and blocks all requests; if it panics, the request gets
    /// no response. Repeatable.
    pub fn observer(mut self, observer: impl Fn(&Received) + Send + Sync + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    pub(crate) fn into_parts(self) -> Result<(Arc<Shared>, Settings), CollectorError> {
        let key_headers = self.key_headers.into_iter();
        let key_headers = key_headers.map(|name| name.parse().map_err(|_| CollectorError::KeyHeader { name }));
        let key_headers = KeyHeaders::new(key_headers.collect::<Result<_, _>>()?);
        let store = Store::new(self.limits, OwnerAttributes::new(self.owner_attributes));
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

// Not derived: keys must not be printed, and observers are not `Debug`.
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
