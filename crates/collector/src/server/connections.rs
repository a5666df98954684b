//! Connections: how many there may be, and how long one may be silent.

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

/// How long a connection may be silent once others need its place.
const CROWDED_TIMEOUT: Duration = Duration::from_secs(1);
/// How much later the time of a silent connection ends than that of a body.
const LATE_ANSWER_DELAY: Duration = Duration::from_millis(100);
/// How often another connection is asked for its place.
const CROWDED_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait when the system has no socket.
const NO_SOCKET_DELAY: Duration = Duration::from_millis(100);
/// What the heads of HTTP/1 requests of a connection may take.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: usize,
    /// For a request's head, and for a connection that waits for its client.
    pub(crate) client_timeout: Duration,
}

/// Accepts connections and serves them by the router, for ever.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    builder.http2().timer(TokioTimer::new());
    let crowd = Arc::new(Crowd {
        places: Arc::new(Semaphore::new(limits.connections)),
        wanted: Notify::new(),
    });
    loop {
        let stream = crowd.accept(&listener).await;
        let place = crowd.place().await;
        // A wish that found no connection to wake would be kept, and would end this one before it is served.
        let _ = crowd.wanted.notified().now_or_never();
        let (builder, router, crowd) = (builder.clone(), router.clone(), Arc::clone(&crowd));
        tokio::spawn(async move {
            crowd.keep(&builder, stream, router, limits.client_timeout).await;
            drop(place);
        });
    }
}

/// The connections that there are.
struct Crowd {
    places: Arc<Semaphore>,
    /// Wakes the connection that was there first.
    wanted: Notify,
}

impl Crowd {
    async fn accept(&self, listener: &TcpListener) -> TcpStream {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                // The client gave up before its turn.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(_) => {
                    self.wanted.notify_one();
                    tokio::time::sleep(NO_SOCKET_DELAY).await;
                }
            }
        }
    }

    /// A place for one more connection. If there is none, older ones are asked to end.
    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        loop {
            self.wanted.notify_one();
            let place = Arc::clone(&self.places).acquire_owned();
            if let Ok(place) = tokio::time::timeout(CROWDED_INTERVAL, place).await {
                return place.expect("the semaphore is never closed");
            }
        }
    }

    /// Serves a connection until it ends, or is silent for too long, or ends because others need its place.
    async fn keep(
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
        let mut wanted = pin!(self.wanted.notified());
        tokio::select! {
            // A body that is late is answered: its time ends first, and is looked at first.
            biased;
            // A client that breaks off is no fault of ours, and hears of none.
            _ = served.as_mut() => return,
            () = activity.silent_for(client_timeout + LATE_ANSWER_DELAY) => return,
            () = wanted.as_mut() => {}
        }
        // Ends at once if it waits for its next request, else after the present one.
        served.as_mut().graceful_shutdown();
        tokio::select! {
            _ = served => {}
            () = activity.silent_for(CROWDED_TIMEOUT.min(client_timeout)) => {}
        }
    }
}

/// The requests of one connection.
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
