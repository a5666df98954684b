//! Connections, shared by lanes with the same server and the same client identity.
//!
//! HTTP/2 multiplexes requests on a connection, and one that the server does not read may block the
//! others. So with HTTP/2, each request of a slow lane gets its own connection, and when a request
//! turns out to be slow, later requests of other lanes use a new connection. With HTTP/1.1, each
//! concurrent request has its own connection anyway.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[cfg(feature = "tls")]
use super::connector::Connector;
use super::proxy::Proxy;
use super::proxy_connector::ProxyConnector;
use super::tls::TlsError;
#[cfg(feature = "tls")]
use super::tls::{Identity, Platform};
use crate::config::{Addresses, Tls};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::log::episodes::Episodes;
use crate::export::schedule::blocking::Blocking;
use crate::export::schedule::breaker::Breaker;
use crate::export::schedule::capacity_queue::CapacityQueue;
use crate::secret::ApiKey;
use crate::util::error_source::root_cause;
use crate::util::fork::{ForkGuard, ForkLock};

/// How long an idle connection is kept. Shorter than usual for servers and load balancers, so that
/// the client closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Most connection sets to keep without a lane. Their idle connections end as usual.
const MAX_RECENT: usize = 64;

#[cfg(not(feature = "tls"))]
type Connector = ProxyConnector;

pub(crate) type HttpClient = Client<Connector, Full<Bytes>>;

/// Key for sharing connections between lanes.
///
/// Includes client certificates and proxy credentials, so that a request never uses a connection of
/// another client identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    /// Scheme, host and port.
    origin: String,
    tls: Tls,
    proxy: Option<Arc<Proxy>>,
    /// Set if an untrusted layer set the endpoint: the non-public addresses that it may use. So
    /// connections are never shared with the operator's endpoints, or between different sets of
    /// addresses.
    untrusted: Option<Arc<Addresses>>,
}

/// The connections of one key.
pub(crate) struct Connections {
    connector: Connector,
    shared: ForkLock<SharedClient>,
    /// Whether the server chose HTTP/2, or only HTTP/2 is used.
    multiplexes: Arc<AtomicBool>,
    /// For gRPC.
    http2_only: bool,
    #[cfg(feature = "tls")]
    identity: Arc<Identity>,
    key: ConnectionKey,
    /// Endpoint breaker of all lanes with this key. Lanes with other certificates or another proxy
    /// have their own, because these may cause the failures.
    pub(crate) breaker: Arc<Breaker>,
    /// Requests that wait for capacity, by kind.
    capacity_queues: [CapacityQueue; 2],
    /// Log state of the endpoint.
    pub(crate) episodes: Episodes,
    pool: Weak<ConnectionPool>,
    fork_guard: ForkGuard,
}

/// The client that lanes share. Replaced when a request on it is slow.
struct SharedClient {
    client: HttpClient,
    /// Number of clients before it.
    generation: u64,
}

/// The client that one request uses.
pub(crate) struct ClientLease<'a> {
    pub(crate) client: HttpClient,
    connections: &'a Connections,
    /// Generation of the shared client; `None` for a client of its own.
    generation: Option<u64>,
}

/// The connections of all lanes.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    http2_only: bool,
    #[cfg(feature = "tls")]
    platform: Platform,
    /// Refuse a private key that every user may read or write.
    #[cfg(feature = "tls")]
    strict_permissions: bool,
    blocking: Blocking,
    open: ForkLock<HashMap<ConnectionKey, Weak<Connections>, RandomState>>,
    /// The most recently used connections, kept alive for programs that create a tracer per
    /// request.
    recent: ForkLock<VecDeque<Arc<Connections>>>,
    #[cfg(feature = "tls")]
    timeout: Duration,
}

impl ConnectionKey {
    /// Creates the key for a URL. `tls` matters only for `https`.
    pub(crate) fn new(url: &str, tls: &Tls, proxy: Option<Proxy>, untrusted: Option<Arc<Addresses>>) -> Self {
        let authority = url.find("://").map_or(0, |at| at + 3);
        let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
        Self {
            origin: url[..end].to_owned(),
            tls: if url.starts_with("https:") {
                tls.clone()
            } else {
                Tls::default()
            },
            proxy: proxy.map(Arc::new),
            untrusted,
        }
    }
}

impl ConnectionPool {
    /// Creates an empty pool. `timeout` limits connecting after its request has given up. It is
    /// longer than a request's timeout, because the request reports a better error.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS uses it"))]
    pub(crate) fn new(timeout: Duration, http2_only: bool, strict_permissions: bool) -> Arc<Self> {
        Arc::new(Self {
            http2_only,
            #[cfg(feature = "tls")]
            timeout,
            #[cfg(feature = "tls")]
            platform: Platform::new(),
            #[cfg(feature = "tls")]
            strict_permissions,
            blocking: Blocking::new(),
            open: ForkLock::default(),
            recent: ForkLock::default(),
        })
    }

    /// Returns the connections for a key, creating them if needed. Does not connect.
    ///
    /// # Errors
    /// [`TlsError`] if a certificate cannot be used now, even if it could when the connections were
    /// created.
    pub(crate) fn connections(self: &Arc<Self>, key: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        let connections = self.find_or_create(key)?;
        self.remember(&connections);
        Ok(connections)
    }

    fn remember(&self, connections: &Arc<Connections>) {
        let mut recent = self.recent.lock();
        if recent.iter().any(|kept| Arc::ptr_eq(kept, connections)) {
            return;
        }
        recent.push_back(Arc::clone(connections));
        let oldest = if recent.len() > MAX_RECENT {
            recent.pop_front()
        } else {
            None
        };
        drop(recent);
        // Drop outside the lock: the last owner removes itself from the map.
        drop(oldest);
    }

    fn find_or_create(self: &Arc<Self>, key: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        let found = self.open.lock().get(key).and_then(Weak::upgrade);
        if let Some(found) = found {
            found.check()?;
            return Ok(found);
        }
        // Outside the lock, because files are read. If two callers create the same, the second
        // drops its own.
        let created = Arc::new(self.create(key)?);
        let mut open = self.open.lock();
        let entry = open.entry(key.clone()).or_default();
        if let Some(first) = entry.upgrade() {
            // Unlock first: dropping the connections takes the lock.
            drop(open);
            drop(created);
            return Ok(first);
        }
        *entry = Arc::downgrade(&created);
        Ok(created)
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "with TLS, certificates are read")
    )]
    fn create(self: &Arc<Self>, key: &ConnectionKey) -> Result<Connections, TlsError> {
        let http2_only = self.http2_only;
        let connector = ProxyConnector::new(key.proxy.clone(), key.untrusted.clone(), http2_only, &self.blocking);
        let multiplexes = Arc::new(AtomicBool::new(http2_only));
        #[cfg(feature = "tls")]
        let identity = Arc::new(Identity::new(&key.tls, &self.platform, self.strict_permissions)?);
        #[cfg(feature = "tls")]
        let connector = Connector {
            proxy: connector,
            identity: Arc::clone(&identity),
            blocking: self.blocking.clone(),
            multiplexes: Arc::clone(&multiplexes),
            http2_only,
            timeout: self.timeout,
        };
        Ok(Connections {
            shared: ForkLock::new(SharedClient {
                client: pooling_client(&connector, http2_only),
                generation: 0,
            }),
            connector,
            multiplexes,
            http2_only,
            #[cfg(feature = "tls")]
            identity,
            key: key.clone(),
            breaker: Arc::default(),
            capacity_queues: Default::default(),
            episodes: Episodes::default(),
            pool: Arc::downgrade(self),
            fork_guard: ForkGuard::default(),
        })
    }
}

impl Connections {
    /// Returns a client for a request. `is_slow`: the lane's last request was slow.
    pub(crate) fn lease(&self, is_slow: bool) -> ClientLease<'_> {
        if is_slow && self.multiplexes() {
            return ClientLease {
                client: builder(self.http2_only)
                    .pool_max_idle_per_host(0)
                    .build(self.connector.clone()),
                connections: self,
                generation: None,
            };
        }
        let shared = self.shared.lock();
        ClientLease {
            client: shared.client.clone(),
            connections: self,
            generation: Some(shared.generation),
        }
    }

    /// Returns scheme, host and port.
    pub(crate) fn origin(&self) -> &str {
        &self.key.origin
    }

    /// Returns the queue of the requests of a kind that wait for capacity.
    pub(crate) fn capacity_queue(&self, kind: RequestKind) -> &CapacityQueue {
        &self.capacity_queues[kind as usize]
    }

    fn multiplexes(&self) -> bool {
        // Relaxed: see `Connector::connect`.
        self.multiplexes.load(Ordering::Relaxed)
    }
}

impl<'a> ClientLease<'a> {
    /// Returns the credentials of the proxy, which are sent with each request or once for a tunnel.
    pub(crate) fn proxy_credentials(&self) -> Option<&'a ApiKey> {
        self.connections.key.proxy.as_deref().and_then(Proxy::credentials)
    }

    /// Returns the proxy if it forwards requests to this URL, so that each request needs its
    /// credentials. `None` for a tunnel.
    pub(crate) fn forwarding_proxy(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = self.connections.key.proxy.as_deref();
        proxy.filter(|_| url.scheme_str() == Some("http") && !self.connections.http2_only)
    }

    /// Replaces the shared client because a request on it is slow, unless it is already replaced.
    pub(crate) fn note_slow(&self) {
        let connections = self.connections;
        if !connections.multiplexes() {
            return;
        }
        let next = pooling_client(&connections.connector, connections.http2_only);
        let mut shared = connections.shared.lock();
        if self.generation == Some(shared.generation) {
            shared.generation += 1;
            let last = std::mem::replace(&mut shared.client, next);
            drop(shared);
            // Requests in flight have their own handles of it.
            drop(last);
        }
    }

    /// Records a failed request. Returns the reason as text.
    pub(crate) fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        self.connections.note_failure(error)
    }
}

/// Creates a client that keeps idle connections.
fn pooling_client(connector: &Connector, http2_only: bool) -> HttpClient {
    builder(http2_only).build(connector.clone())
}

#[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "only gRPC uses it"))]
fn builder(http2_only: bool) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
    #[cfg(feature = "grpc")]
    builder.http2_only(http2_only);
    builder
}

#[cfg(feature = "tls")]
impl Connections {
    fn check(&self) -> Result<(), TlsError> {
        self.identity.check()
    }

    fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        self.identity.note_failure();
        self.identity
            .explain(error)
            .unwrap_or_else(|| root_cause(error).to_string())
    }
}

#[cfg(not(feature = "tls"))]
#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "only TLS has something to check and to note"
)]
impl Connections {
    fn check(&self) -> Result<(), TlsError> {
        Ok(())
    }

    fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        root_cause(error).to_string()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if self.fork_guard.is_forked_child() {
            // Leak the client: dropping it takes locks that may never be released in a forked
            // child.
            let shared = self.shared.get_mut();
            std::mem::forget(shared.client.clone());
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        let mut open = pool.open.lock();
        // New connections may have replaced these meanwhile.
        if open.get(&self.key).is_some_and(|entry| entry.strong_count() == 0) {
            open.remove(&self.key);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({:?})", self.key)
    }
}
