//! Connections, with limits on their number and silence.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::activity::Activity;
use super::wire::{Breaker, Wire};

/// Silence limit of a connection that must close for a new one.
const CROWDED_TIMEOUT: Duration = Duration::from_secs(1);
/// Added to the silence limit of a connection, so that a late body gets a response first.
const LATE_RESPONSE_DELAY: Duration = Duration::from_millis(100);
/// Interval for closing further connections while a new one waits.
const CROWDED_INTERVAL: Duration = Duration::from_millis(100);
/// Delay after the system could not provide a socket.
const NO_SOCKET_DELAY: Duration = Duration::from_millis(100);
/// Buffer limit of a connection, which bounds the heads of HTTP/1 requests.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: usize,
    /// For a request's head, each part of a body, and silence.
    pub(crate) client_timeout: Duration,
}

/// Accepts and serves connections. Never returns.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    builder.http2().timer(TokioTimer::new());
    let connections = Arc::new(Connections {
        permits: Arc::new(Semaphore::new(limits.connections)),
        close_oldest: Notify::new(),
    });
    loop {
        let stream = connections.accept(&listener).await;
        let permit = connections.permit().await;
        // Discard a stored notification, which would close this connection before it is served.
        let _ = connections.close_oldest.notified().now_or_never();
        let (builder, router, connections) = (builder.clone(), router.clone(), Arc::clone(&connections));
        tokio::spawn(async move {
            connections.run(&builder, stream, router, limits.client_timeout).await;
            drop(permit);
        });
    }
}

struct Connections {
    permits: Arc<Semaphore>,
    /// Wakes the oldest connection.
    close_oldest: Notify,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener) -> TcpStream {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // The client disconnected before it was accepted.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(_) => {
                    self.close_oldest.notify_one();
                    tokio::time::sleep(NO_SOCKET_DELAY).await;
                }
            }
        }
    }

    /// Returns a permit for a new connection. If there is none, closes the oldest connections.
    async fn permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return permit;
        }
        loop {
            self.close_oldest.notify_one();
            let permit = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(CROWDED_INTERVAL, permit).await {
                return permit.expect("the semaphore is never closed");
            }
        }
    }

    /// Serves a connection until it ends, is silent for too long, or must close for a new one.
    async fn run(
        &self,
        builder: &auto::Builder<TokioExecutor>,
        stream: TcpStream,
        router: Router,
        client_timeout: Duration,
    ) {
        let activity = Activity::default();
        let wire = Wire::new(stream, activity.clone());
        let requests = Requests {
            router,
            breaker: wire.breaker(),
            activity: activity.clone(),
        };
        let served = builder.serve_connection(TokioIo::new(wire), TowerToHyperService::new(requests));
        let mut served = pin!(served);
        let mut close_oldest = pin!(self.close_oldest.notified());
        tokio::select! {
            // Poll the connection first, so that a late body gets its response.
            biased;
            // Errors of the client are ignored.
            _ = served.as_mut() => return,
            () = activity.silent_for(client_timeout + LATE_RESPONSE_DELAY) => return,
            () = close_oldest.as_mut() => {}
        }
        // Closes at once if idle, otherwise after the current request.
        served.as_mut().graceful_shutdown();
        tokio::select! {
            _ = served => {}
            () = activity.silent_for(CROWDED_TIMEOUT.min(client_timeout)) => {}
        }
    }
}

/// Service for the requests of one connection.
#[derive(Clone)]
struct Requests {
    router: Router,
    breaker: Breaker,
    activity: Activity,
}

impl<B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static> Service<Request<B>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.breaker.clone());
        request.extensions_mut().insert(self.activity.clone());
        self.router.call(request)
    }
}
