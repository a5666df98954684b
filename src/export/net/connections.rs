//! Connections, shared by all lanes that go the same way: to the same server, as the same client.
//!
//! HTTP/2 has many requests on one connection, and one that the server does not read may keep the others from being read. So there a lane
//! that was slow before has a connection for each of its requests to itself, and where a request turns out to be slow, the next ones of all
//! other lanes begin on a new connection. With HTTP/1.1 each request under way has a connection to itself anyway.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[cfg(feature = "tls")]
use super::connector::Connector;
use super::dial::ProxyConnector;
use super::proxy::Proxy;
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

/// How long an unused connection is kept. Below what servers and load balancers commonly do, so that we close first.
const IDLE: Duration = Duration::from_secs(20);

/// How many ways are kept that no lane goes at the moment. Their connections end when they are unused, as all do.
const KEPT: usize = 64;

#[cfg(not(feature = "tls"))]
type Connector = ProxyConnector;

pub(crate) type HttpClient = Client<Connector, Full<Bytes>>;

/// What lanes must have in common to share connections.
///
/// Client certificates and a proxy's credentials are in it: a request never goes over a connection that was made as another client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    /// Scheme, host and port.
    origin: String,
    tls: Tls,
    proxy: Option<Arc<Proxy>>,
    /// If an untrusted layer set the endpoint: the addresses that it may have although they are not public. A connection that was made for an
    /// endpoint of the operator's is never used for one of these, and none of these for another's with other addresses.
    untrusted: Option<Arc<Addresses>>,
}

/// The connections that go one way.
pub(crate) struct Connections {
    connector: Connector,
    shared: ForkLock<SharedClient>,
    /// The server chose HTTP/2, or nothing else is spoken.
    multiplexes: Arc<AtomicBool>,
    /// As gRPC has it.
    http2_only: bool,
    #[cfg(feature = "tls")]
    identity: Arc<Identity>,
    way: ConnectionKey,
    /// Of all lanes that go this way. Others that go to the same server, with certificates or a proxy of their own, have another: what keeps
    /// these from connecting may be theirs.
    pub(crate) breaker: Arc<Breaker>,
    /// The requests of all these lanes that wait for capacity, by kind.
    capacity_queues: [CapacityQueue; 2],
    /// What the log says of it.
    pub(crate) episodes: Episodes,
    pool: Weak<ConnectionPool>,
    fork_guard: ForkGuard,
}

/// The client that lanes share, until one of its connections has a slow request on it.
struct SharedClient {
    client: HttpClient,
    /// How many there were before.
    generation: u64,
}

/// What one request is sent on.
pub(crate) struct ClientLease<'a> {
    pub(crate) client: HttpClient,
    connections: &'a Connections,
    /// Of the shared client that it is.
    generation: Option<u64>,
}

/// All ways that some lane goes.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    http2_only: bool,
    #[cfg(feature = "tls")]
    platform: Platform,
    /// A private key that every user may read or write is refused.
    #[cfg(feature = "tls")]
    strict_permissions: bool,
    blocking: Blocking,
    open: ForkLock<HashMap<ConnectionKey, Weak<Connections>>>,
    /// The last few that were asked for. Where each request has a tracer of its own, no lane keeps them from one to the next.
    recent: ForkLock<VecDeque<Arc<Connections>>>,
    #[cfg(feature = "tls")]
    timeout: Duration,
}

impl ConnectionKey {
    /// The way to a URL. Certificates matter where it is `https`.
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
    /// `timeout` is how long making a connection may take, where no request waits for it any more: longer than any request waits, which has a
    /// better error to tell.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "TCP has its own"))]
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

    /// The connections of a way: those that are there, or new ones, which are made when they are needed.
    ///
    /// # Errors
    /// [`TlsError`] where a certificate cannot be used now, also where it could when the connections were made.
    pub(crate) fn connections(self: &Arc<Self>, way: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        let connections = self.find_or_make(way)?;
        self.keep(&connections);
        Ok(connections)
    }

    fn keep(&self, connections: &Arc<Connections>) {
        let mut recent = self.recent.lock();
        if recent.iter().any(|kept| Arc::ptr_eq(kept, connections)) {
            return;
        }
        recent.push_back(Arc::clone(connections));
        let oldest = if recent.len() > KEPT { recent.pop_front() } else { None };
        drop(recent);
        // Not under a lock: it may be the last one, which takes itself out of the map.
        drop(oldest);
    }

    fn find_or_make(self: &Arc<Self>, way: &ConnectionKey) -> Result<Arc<Connections>, TlsError> {
        let found = self.open.lock().get(way).and_then(Weak::upgrade);
        if let Some(found) = found {
            found.check()?;
            return Ok(found);
        }
        // Made outside the lock: files are read. Two callers may make the same, and the second one's are dropped unused.
        let made = Arc::new(self.make(way)?);
        let mut open = self.open.lock();
        let entry = open.entry(way.clone()).or_default();
        if let Some(first) = entry.upgrade() {
            // Not while the lock is held: dropping takes it.
            drop(open);
            drop(made);
            return Ok(first);
        }
        *entry = Arc::downgrade(&made);
        Ok(made)
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "with TLS, certificates are read")
    )]
    fn make(self: &Arc<Self>, way: &ConnectionKey) -> Result<Connections, TlsError> {
        let http2_only = self.http2_only;
        let dial = ProxyConnector::new(way.proxy.clone(), way.untrusted.clone(), http2_only, &self.blocking);
        let multiplexes = Arc::new(AtomicBool::new(http2_only));
        #[cfg(feature = "tls")]
        let identity = Arc::new(Identity::new(&way.tls, &self.platform, self.strict_permissions)?);
        #[cfg(feature = "tls")]
        let dial = Connector {
            dial,
            identity: Arc::clone(&identity),
            blocking: self.blocking.clone(),
            multiplexes: Arc::clone(&multiplexes),
            http2_only,
            timeout: self.timeout,
        };
        Ok(Connections {
            shared: ForkLock::new(SharedClient {
                client: pooling(&dial, http2_only),
                generation: 0,
            }),
            connector: dial,
            multiplexes,
            http2_only,
            #[cfg(feature = "tls")]
            identity,
            way: way.clone(),
            breaker: Arc::default(),
            capacity_queues: Default::default(),
            episodes: Episodes::default(),
            pool: Arc::downgrade(self),
            fork_guard: ForkGuard::default(),
        })
    }
}

impl Connections {
    /// What a request of a lane is sent on; `is_suspect` says that the lane's last one was slow.
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

    /// The queue of the requests of a kind that wait for capacity.
    pub(crate) fn capacity_queue(&self, kind: RequestKind) -> &CapacityQueue {
        &self.capacity_queues[kind as usize]
    }

    fn multiplexes(&self) -> bool {
        self.multiplexes.load(Ordering::Relaxed) // As where it is stored.
    }
}

impl<'a> ClientLease<'a> {
    /// The credentials that a proxy on the way gets, in a request or once for a tunnel.
    pub(crate) fn proxy_credentials(&self) -> Option<&'a ApiKey> {
        self.connections.way.proxy.as_deref().and_then(Proxy::credentials)
    }

    /// The proxy that forwards requests to a URL, and so has to be told in each who asks. In a tunnel, it was told already.
    pub(crate) fn forwarding_proxy(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = self.connections.way.proxy.as_deref();
        proxy.filter(|_| url.scheme_str() == Some("http") && !self.connections.http2_only)
    }

    /// A request on it is slow: requests from now on go on another connection, unless they do already.
    pub(crate) fn note_slow(&self) {
        let connections = self.connections;
        if !connections.multiplexes() {
            return;
        }
        let next = pooling(&connections.connector, connections.http2_only);
        let mut shared = connections.shared.lock();
        if self.generation == Some(shared.generation) {
            shared.generation += 1;
            let last = std::mem::replace(&mut shared.client, next);
            drop(shared);
            // What is under way on it has handles of its own.
            drop(last);
        }
    }

    /// A request on it failed on the way. Gives the reason in words.
    pub(crate) fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        self.connections.note_failure(error)
    }
}

/// A client that keeps connections for the next request.
fn pooling(connector: &Connector, http2_only: bool) -> HttpClient {
    builder(http2_only).build(connector.clone())
}

#[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "gRPC alone has it"))]
fn builder(http2_only: bool) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
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
    reason = "with TLS, there is something to check and to note"
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
            // A client that is dropped wakes the tasks of its connections, by locks that may be held for good. The connections are the parent's.
            let shared = self.shared.get_mut();
            std::mem::forget(shared.client.clone());
            return;
        }
        let Some(pool) = self.pool.upgrade() else { return };
        let mut open = pool.open.lock();
        // Others may have been made for the way meanwhile.
        if open.get(&self.way).is_some_and(|entry| entry.strong_count() == 0) {
            open.remove(&self.way);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({:?})", self.way)
    }
}
