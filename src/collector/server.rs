//! The server's thread: it owns the reactor, so that the collector works in programs with and without one of their own.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use axum::Router;
use tokio::runtime;
use tokio::sync::oneshot;

use super::error::CollectorError;
use super::shared::SharedRef;
use super::wire::{Breaker, Listener};
use super::{api, receive};

/// A server that runs until it is stopped.
pub(super) struct Server {
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Binds and starts to serve. The port is open when this returns.
    pub(super) fn start(listen: &str, shared: SharedRef) -> Result<Self, CollectorError> {
        let unable = |source| CollectorError::Listen {
            address: listen.to_owned(),
            source,
        };
        let listener = TcpListener::bind(listen).map_err(unable)?;
        listener.set_nonblocking(true).map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;

        let (stop, stopped) = oneshot::channel();
        let (started, starting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("local-collector".to_owned())
            .spawn(move || run(listener, shared, stopped, &started))
            .map_err(CollectorError::Thread)?;
        // A thread that ends without a word has panicked before it could serve; that cannot be told from a failure.
        starting
            .recv()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
            .map_err(CollectorError::Reactor)?;
        Ok(Self {
            address,
            running: Mutex::new(Some(Running { stop, thread })),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving, breaks what connections are open, and waits for the thread. Again, it does nothing.
    pub(super) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
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
    shared: SharedRef,
    stopped: oneshot::Receiver<()>,
    started: &mpsc::Sender<Result<(), std::io::Error>>,
) {
    let reactor = match runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(reactor) => reactor,
        Err(error) => return drop(started.send(Err(error))),
    };
    reactor.block_on(async {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => Listener(listener),
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(()));
        let service = router(shared).into_make_service_with_connect_info::<Breaker>();
        tokio::select! {
            _ = axum::serve(listener, service) => {}
            _ = stopped => {}
        }
    });
    // Dropping the reactor here drops the connections, those that hang as well.
}

fn router(shared: SharedRef) -> Router {
    api::routes().fallback(receive::receive).with_state(shared)
}
