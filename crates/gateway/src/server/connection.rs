//! One connection: handshake, protocol, and its end.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Expired};
use super::shared::Server;
use super::streams::Streams;
use super::tracked::{HeadMemory, TrackedBody, TrackedStream, first_bytes};
use crate::answer::AnswerBody;

/// Time for a client to close an idle connection that must end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval of pings to a silent HTTP/2 client, and the time for its answer.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that an HTTP/2 client may send on a stream, and on a connection, before the gateway reads
/// them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Largest head of a request, and the number of its headers.
const HEAD_BYTES: u32 = 32 * 1024;
const HEADERS: usize = 100;
/// Largest read buffer of an HTTP/1 connection.
const READ_BUFFER: usize = 64 * 1024;
/// Streams that an HTTP/2 client may reset before their requests are served, or that break the
/// protocol, until its connection is closed.
const RESET_STREAMS: usize = 20;

pub(super) struct Connection {
    server: Arc<Server>,
    peer: IpAddr,
    stop: watch::Receiver<bool>,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, peer: IpAddr, stop: watch::Receiver<bool>) -> Self {
        Self { server, peer, stop }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(self, stream: TcpStream) {
        // Without this, a small answer could wait 40 ms for an acknowledgement.
        drop(stream.set_nodelay(true));
        let began = Instant::now();
        let Some(tls) = self.server.current.tls().current() else {
            return self.serve(stream, began).await;
        };
        let deadline = began + self.server.running().settings.header_timeout;
        let handshake = timeout_at(deadline, TlsAcceptor::from(tls).accept(stream)).await;
        match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => self.serve(stream, began).await,
            // Health checks of load balancers connect and close.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => {
                self.server.counters.failed_handshake.add(1);
                self.server.log.handshake_failed(self.peer, &error);
            }
        }
    }

    async fn serve<S>(mut self, mut stream: S, began: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let running = self.server.running();
        let settings = &running.settings;
        let first = timeout_at(began + settings.header_timeout, first_bytes(&mut stream));
        let first = tokio::select! {
            // A request that arrived in time is served.
            biased;
            first = first => first,
            // Clients open connections ahead of their requests.
            _ = self.stop.wait_for(|stop| *stop) => return,
        };
        let (is_http2, first) = match first {
            Ok(Ok(first)) => first,
            Ok(Err(_)) => return,
            Err(_) => return self.server.counters.slow_head.add(1),
        };
        let activity = Activity::new(began, !is_http2);
        let head = HeadMemory::new(Arc::clone(&self.server));
        let streams = Streams::default();
        let started = streams.started();
        let stream = TokioIo::new(TrackedStream::new(
            stream,
            is_http2,
            first,
            activity.clone(),
            head,
            started,
        ));
        let refused = Arc::<Notify>::default();
        let service = self.service(activity.clone(), Arc::clone(&refused));
        if is_http2 {
            let mut builder = http2::Builder::new(streams.started());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(settings.http2_max_streams)
                .max_header_list_size(HEAD_BYTES)
                .max_pending_accept_reset_streams(RESET_STREAMS)
                .max_local_error_reset_streams(RESET_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT);
            let connection = Box::pin(builder.serve_connection(stream, service));
            self.drive(connection, streams, &activity, &refused).await;
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                // hyper would apply it to idle connections too.
                .header_read_timeout(None)
                .max_headers(HEADERS)
                .max_header_size(HEAD_BYTES as usize)
                .max_buf_size(READ_BUFFER);
            let connection = Box::pin(builder.serve_connection(stream, service));
            self.drive(connection, streams, &activity, &refused).await;
        }
    }

    /// Returns what answers requests. Notifies `refused` of an answer that ends the connection.
    fn service(
        &self,
        activity: Activity,
        refused: Arc<Notify>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<AnswerBody>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
    > + 'static {
        let (server, peer) = (Arc::clone(&self.server), self.peer);
        service_fn(move |request: Request<Incoming>| {
            let running = Arc::new(activity.start_request());
            let request = request.map(|body| TrackedBody::new(body, Arc::clone(&running)));
            let (server, refused) = (Arc::clone(&server), Arc::clone(&refused));
            async move {
                let answer = server.answer(request, peer).await;
                // HTTP/2 has no such header: its connections end only in this way.
                if server.ends_connections() && answer.headers().contains_key(CONNECTION) {
                    refused.notify_one();
                }
                // A client that does not read its answer is idle.
                drop(running);
                Ok(answer)
            }
        })
    }

    /// Runs a connection until it ends by itself, expires, is refused, or the server stops. Then
    /// ends its requests.
    ///
    /// In a box, because a future has a place for each function that it passes a connection to.
    async fn drive<C: GracefulConnection>(
        mut self,
        mut connection: Pin<Box<C>>,
        mut streams: Streams,
        activity: &Activity,
        refused: &Notify,
    ) {
        let server = Arc::clone(&self.server);
        tokio::select! {
            biased;
            () = self.serve_until_end(connection.as_mut(), activity, refused) => {}
            () = streams.run(&server.turns, true) => {}
        }
        // Ends its requests.
        drop(connection);
        streams.run(&server.turns, false).await;
    }

    async fn serve_until_end<C: GracefulConnection>(
        &mut self,
        mut connection: Pin<&mut C>,
        activity: &Activity,
        refused: &Notify,
    ) {
        let running = self.server.running();
        let settings = &running.settings;
        tokio::select! {
            // The connection first: a request that arrived in time is served.
            biased;
            // Errors of the client concern only the client.
            _ = connection.as_mut() => return,
            expired = activity.expired(self.server.idle_timeout(), settings.header_timeout) => match expired {
                Expired::SlowHead => return self.server.counters.slow_head.add(1),
                Expired::Idle => self.server.counters.idle.add(1),
            },
            () = refused.notified() => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
        close(connection, activity).await;
    }
}

/// Ends a connection after its running requests.
async fn close<C: GracefulConnection>(mut connection: Pin<&mut C>, activity: &Activity) {
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        _ = connection => {}
        () = activity.quiet_for(CLOSE_TIMEOUT) => {}
    }
}
