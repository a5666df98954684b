//! Opening of connections: TCP, and TLS over it.

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

use super::proxy_connector::{ProxyConnector, ProxyStream};
use super::tls::Identity;
use crate::export::schedule::blocking::Blocking;
use crate::util::error_source::BoxError;

/// Opens connections for one [`ConnectionKey`](super::connections::ConnectionKey).
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) proxy: ProxyConnector,
    pub(crate) identity: Arc<Identity>,
    pub(crate) blocking: Blocking,
    /// Set when the server chooses HTTP/2.
    pub(crate) multiplexes: Arc<AtomicBool>,
    /// Fail if the server does not choose HTTP/2.
    pub(crate) http2_only: bool,
    pub(crate) timeout: Duration,
}

impl Connector {
    async fn connect(self, to: Uri) -> Result<MaybeHttpsStream<TokioIo<ProxyStream>>, BoxError> {
        let mut config = self.identity.current(&self.blocking).await?;
        if self.http2_only {
            // Copies share the cache of TLS sessions.
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        }
        let mut https = HttpsConnector::from((self.proxy, config));
        poll_fn(|cx| https.poll_ready(cx)).await?;
        let is_tls = to.scheme_str() == Some("https");
        let connection = https.call(to).await?;
        if connection.connected().is_negotiated_h2() {
            // Relaxed: a request that reads the old value only shares a connection once more.
            self.multiplexes.store(true, Ordering::Relaxed);
        } else if self.http2_only && is_tls {
            return Err("server does not support HTTP/2 (no ALPN), which gRPC requires".into());
        }
        Ok(connection)
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<ProxyStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        // If the request gets another connection first, this one is opened in the background,
        // without the request's timeout.
        let connecting = tokio::time::timeout(self.timeout, self.clone().connect(to));
        Box::pin(async { connecting.await? })
    }
}
