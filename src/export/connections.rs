//! Connections, shared by all lanes that go the same way: to the same server, as the same client.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[cfg(feature = "tls")]
use super::connector::Connector;
use super::tls::TlsError;
#[cfg(feature = "tls")]
use super::tls::{Identity, Platform};
use crate::config::Tls;

/// How long an unused connection is kept. Below what servers and load balancers commonly do, so that we close first.
const IDLE: Duration = Duration::from_secs(20);

#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

/// What lanes must have in common to share connections.
///
/// Client certificates are in it: a request never goes over a connection that was made as another client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    /// Scheme, host and port.
    origin: String,
    tls: Tls,
}

/// The connections that go one way.
pub(crate) struct Connections {
    pub(super) client: HttpClient,
    #[cfg(feature = "tls")]
    identity: Arc<Identity>,
    way: Way,
    ways: Weak<Ways>,
}

/// All ways that some lane goes.
#[derive(Debug)]
pub(super) struct Ways {
    #[cfg(feature = "tls")]
    platform: Platform,
    open: Mutex<HashMap<Way, Weak<Connections>>>,
}

impl Way {
    /// The way to a URL. Certificates matter where it is `https`.
    pub(crate) fn new(url: &str, tls: &Tls) -> Self {
        let authority = url.find("://").map_or(0, |at| at + 3);
        let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
        Self {
            origin: url[..end].to_owned(),
            tls: if url.starts_with("https:") {
                tls.clone()
            } else {
                Tls::default()
            },
        }
    }
}

impl Ways {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            #[cfg(feature = "tls")]
            platform: Platform::new(),
            open: Mutex::default(),
        })
    }

    /// The connections of a way: those that are there, or new ones, which are made when they are needed.
    ///
    /// # Errors
    /// [`TlsError`] where a certificate cannot be used now, also where it could when the connections were made.
    pub(super) fn connections(self: &Arc<Self>, way: &Way) -> Result<Arc<Connections>, TlsError> {
        let found = self.lock().get(way).and_then(Weak::upgrade);
        if let Some(found) = found {
            found.check()?;
            return Ok(found);
        }
        // Made outside the lock: files are read. Two callers may make the same, and the second one's are dropped unused.
        let made = Arc::new(self.make(way)?);
        let mut open = self.lock();
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

    fn make(self: &Arc<Self>, way: &Way) -> Result<Connections, TlsError> {
        let mut dial = HttpConnector::new();
        dial.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        #[cfg(feature = "tls")]
        let identity = Arc::new(Identity::new(&way.tls, &self.platform)?);
        #[cfg(feature = "tls")]
        let dial = Connector::new(dial, Arc::clone(&identity));
        Ok(Connections {
            client: client.build(dial),
            #[cfg(feature = "tls")]
            identity,
            way: way.clone(),
            ways: Arc::downgrade(self),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Way, Weak<Connections>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "tls")]
impl Connections {
    fn check(&self) -> Result<(), TlsError> {
        self.identity.check()
    }

    /// A request failed on the way. Gives the reason in words.
    pub(super) fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        self.identity.note_failure();
        self.identity.explain(error).unwrap_or_else(|| innermost(error))
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

    /// A request failed on the way. Gives the reason in words.
    pub(super) fn note_failure(&self, error: &(dyn Error + 'static)) -> String {
        innermost(error)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let Some(ways) = self.ways.upgrade() else { return };
        let mut open = ways.lock();
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

/// The cause at the bottom: the layers above it only say that a request failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
