//! One new connection: TCP, and TLS over it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::dial::{ProxyConnector, Reached};
use super::tls::Identity;
use crate::export::schedule::blocking::Blocking;
use crate::util::error_source::BoxError;

/// Makes connections for one [`ConnectionKey`](super::connections::ConnectionKey).
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) dial: ProxyConnector,
    pub(crate) identity: Arc<Identity>,
    pub(crate) blocking: Blocking,
    /// Set when a server chose HTTP/2.
    pub(crate) multiplexes: Arc<AtomicBool>,
    /// A server that chooses something else is none that can be used.
    pub(crate) http2_only: bool,
    pub(crate) timeout: Duration,
}

impl Connector {
    async fn connect(self, to: Uri) -> Result<MaybeHttpsStream<TokioIo<Reached>>, BoxError> {
        let mut config = self.identity.current(&self.blocking).await?;
        if self.http2_only {
            // What it remembers of servers is shared by the copies.
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        }
        let mut https = HttpsConnector::from((self.dial, config));
        poll_fn(|cx| https.poll_ready(cx)).await?;
        let is_tls = to.scheme_str() == Some("https");
        let connection = https.call(to).await?;
        if connection.connected().is_negotiated_h2() {
            // Relaxed: who asks a moment too early shares a connection once more.
            self.multiplexes.store(true, Ordering::Relaxed);
        } else if self.http2_only && is_tls {
            return Err("the server does not speak HTTP/2 (it chose nothing by ALPN), and gRPC needs it".into());
        }
        Ok(connection)
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<Reached>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // A request that found another connection leaves this one to be made in the background, where its own time does not end it.
        let connecting = tokio::time::timeout(self.timeout, self.clone().connect(to));
        Box::pin(async { connecting.await? })
    }
}
