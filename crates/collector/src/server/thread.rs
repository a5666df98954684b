//! The server's thread: it owns the reactor, so that the collector works in programs with and without one of their own.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::{Router, middleware};
use tokio::runtime;
use tokio::sync::oneshot;

use super::budget::Budget;
use super::connections::{self, ConnectionLimits};
use super::hosts::Hosts;
use super::serving::{Serving, ServingRef, Shared, admit};
use super::worker::Worker;
use crate::api;
use crate::error::CollectorError;
use crate::lock::lock;
use crate::request::receive;

/// How many bytes of requests and answers may be on their way: so many times the largest body, and no fewer than this.
const BUDGET_FACTOR: usize = 4;
const LEAST_BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// Where to listen, and what clients may do.
pub(crate) struct Settings {
    pub(crate) listen: String,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) connections: ConnectionLimits,
}

/// A server that runs until it is stopped.
pub(crate) struct Server {
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Binds and starts to serve. The port is open when this returns.
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
                // The last one that gives it work is gone.
                drop(working.join());
            })
            .map_err(CollectorError::Thread)?;
        // A thread that ends without a message has panicked before it could serve: reported as a failure.
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

    /// Stops serving, breaks what connections are open, and waits for the thread. Again, it does nothing.
    pub(crate) fn stop(&self) {
        let running = lock(&self.running).take();
        let Some(Running { stop, thread }) = running else {
            return;
        };
        drop(stop);
        // An observer may hold the last handle. The thread cannot wait for itself; it ends after the observer returns.
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
    // Dropping the reactor here drops the connections, those that hang as well.
}

fn serving(shared: Arc<Shared>, worker: Worker, listened: IpAddr, settings: &Settings) -> ServingRef {
    let budget = shared.max_body_bytes.saturating_mul(BUDGET_FACTOR);
    Arc::new(Serving {
        shared,
        worker,
        budget: Budget::new(budget.max(LEAST_BUDGET_BYTES)),
        hosts: Hosts::new(listened, &settings.allowed_hosts),
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
    async fn while_a_body_is_read_other_requests_are_answered() {
        let (shared, settings) = LocalCollector::builder().into_parts().unwrap();
        let (worker, _thread) = Worker::start().unwrap();
        let (done, gate) = mpsc::channel::<()>();
        let mut busy = Box::pin(worker.run(move || gate.recv()));
        assert!(futures_util::poll!(busy.as_mut()).is_pending());

        let router = router(serving(shared, worker.clone(), Ipv4Addr::LOCALHOST.into(), &settings));
        let mut export = router.clone().oneshot(request("POST", "/v1/traces"));
        assert!(
            futures_util::poll!(&mut export).is_pending(),
            "its body waits for the one before"
        );
        let health = router.oneshot(request("GET", "/api/health")).await.unwrap();
        assert_eq!(health.status(), 200);
        done.send(()).unwrap();
        assert_eq!(export.await.unwrap().status(), 200);
    }
}
