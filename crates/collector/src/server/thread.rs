//! The server's thread. It has its own reactor, so the collector works in programs with and without
//! one.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::{Router, middleware};
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};

use super::budget::Budget;
use super::connections::{self, ConnectionLimits};
use super::hosts::Hosts;
use super::serving::{Serving, ServingRef, Shared, admit};
use super::worker::Worker;
use crate::api;
use crate::error::CollectorError;
use crate::lock::lock;
use crate::request::receive;

/// Limit on the bytes of all requests and responses in progress, as a multiple of the largest body.
const BUDGET_FACTOR: usize = 4;
/// Minimum of that limit.
const MIN_BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// Streams for pages, over all connections.
const MAX_STREAMS: usize = 16;

/// Listen address and limits of clients.
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) connections: ConnectionLimits,
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Binds the port and starts to serve. The port is open when this returns.
    pub(crate) fn start(settings: &Settings, shared: Arc<Shared>) -> Result<Self, CollectorError> {
        let unable = |source| CollectorError::Listen {
            address: settings.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&settings.listen).map_err(unable)?;
        listener.set_nonblocking(true).map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;

        let (worker, working) = Worker::start().map_err(CollectorError::Thread)?;
        let serving = serving(shared, worker, address.ip(), settings);
        let connections = settings.connections;

        let (stop, stopped) = oneshot::channel();
        let (started, starting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("local-collector".to_owned())
            .spawn(move || {
                run(listener, serving, connections, stopped, &started);
                // The worker's thread ends, because `run` dropped the last sender of work.
                drop(working.join());
            })
            .map_err(CollectorError::Thread)?;
        // A closed channel means that the thread panicked.
        starting
            .recv()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
            .map_err(CollectorError::Reactor)?;
        Ok(Self {
            address,
            running: Mutex::new(Some(Running { stop, thread })),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving, closes all connections, and waits for the thread. Further calls do nothing.
    pub(crate) fn stop(&self) {
        let running = lock(&self.running).take();
        let Some(Running { stop, thread }) = running else {
            return;
        };
        drop(stop);
        // An observer may drop the last handle on the server's thread, which cannot join itself.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    listener: TcpListener,
    serving: ServingRef,
    connections: ConnectionLimits,
    stopped: oneshot::Receiver<()>,
    started: &mpsc::Sender<Result<(), std::io::Error>>,
) {
    let reactor = match runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(reactor) => reactor,
        Err(error) => return drop(started.send(Err(error))),
    };
    reactor.block_on(async {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(()));
        tokio::select! {
            () = connections::serve(listener, router(serving), connections) => {}
            _ = stopped => {}
        }
    });
    // Dropping the reactor closes all connections, including hanging ones.
}

fn serving(shared: Arc<Shared>, worker: Worker, listen_address: IpAddr, settings: &Settings) -> ServingRef {
    let budget = shared.max_body_bytes.saturating_mul(BUDGET_FACTOR);
    Arc::new(Serving {
        shared,
        worker,
        budget: Budget::new(budget.max(MIN_BUDGET_BYTES)),
        hosts: Hosts::new(listen_address, &settings.allowed_hosts),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        client_timeout: settings.connections.client_timeout,
    })
}

fn router(serving: ServingRef) -> Router {
    api::routes()
        .fallback(receive::receive)
        .layer(middleware::from_fn_with_state(Arc::clone(&serving), admit))
        .with_state(serving)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::LocalCollector;

    fn request(method: &str, path: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request
            .header("authorization", "Bearer key")
            .header("content-type", "application/json");
        request.body(Body::from("{}")).unwrap()
    }

    #[tokio::test]
    async fn other_requests_are_served_while_a_body_is_decoded() {
        let (shared, settings) = LocalCollector::builder().into_parts().unwrap();
        let (worker, _thread) = Worker::start().unwrap();
        let (done, gate) = mpsc::channel::<()>();
        let mut busy = Box::pin(worker.run(move || gate.recv()));
        assert!(futures_util::poll!(busy.as_mut()).is_pending());

        let router = router(serving(shared, worker.clone(), Ipv4Addr::LOCALHOST.into(), &settings));
        let mut export = router.clone().oneshot(request("POST", "/v1/traces"));
        assert!(
            futures_util::poll!(&mut export).is_pending(),
            "its body waits for the worker"
        );
        let health = router.oneshot(request("GET", "/api/health")).await.unwrap();
        assert_eq!(health.status(), 200);
        done.send(()).unwrap();
        assert_eq!(export.await.unwrap().status(), 200);
    }
}
