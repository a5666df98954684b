//! One new connection: to the server, and TLS over it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::tls::Identity;

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections for one [`Way`](super::connections::Way).
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dial: HttpConnector,
    identity: Arc<Identity>,
    /// Set when a server chose HTTP/2.
    multiplexes: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(mut dial: HttpConnector, identity: Arc<Identity>, multiplexes: Arc<AtomicBool>) -> Self {
        dial.enforce_http(false);
        Self {
            dial,
            identity,
            multiplexes,
        }
    }

    async fn connect(self, to: Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        let config = self.identity.current().await?;
        let mut https = HttpsConnector::from((self.dial, config));
        poll_fn(|cx| https.poll_ready(cx)).await?;
        let connection = https.call(to).await?;
        if connection.connected().is_negotiated_h2() {
            // Relaxed: who asks a moment too early shares a connection once more.
            self.multiplexes.store(true, Ordering::Relaxed);
        }
        Ok(connection)
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().connect(to))
    }
}
