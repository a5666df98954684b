//! Opening of TCP connections, directly or through a proxy.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::proxy::Proxy;
use super::resolver::Resolver;
use super::tunnel::tunnel;
use crate::config::Addresses;
use crate::export::schedule::blocking::Blocking;
use crate::util::error_source::{BoxError, root_cause};

/// Opens TCP connections, directly or through a proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxyConnector {
    tcp: HttpConnector<Resolver>,
    /// Connects to the proxy without address limits, because the operator configured it.
    to_proxy: HttpConnector<Resolver>,
    resolver: Resolver,
    proxy: Option<Arc<Proxy>>,
    /// Tunnel even without TLS, because proxies forward single requests only by HTTP/1.1.
    always_tunnel: bool,
}

/// A TCP connection to a server or a forwarding proxy.
#[derive(Debug)]
pub(crate) struct ProxyStream {
    stream: TcpStream,
    /// Whether the peer is a proxy that forwards each request and needs its absolute URL.
    forwards: bool,
}

impl ProxyConnector {
    pub(crate) fn new(
        proxy: Option<Arc<Proxy>>,
        untrusted: Option<Arc<Addresses>>,
        always_tunnel: bool,
        blocking: &Blocking,
    ) -> Self {
        let resolver = Resolver::new(untrusted, blocking);
        Self {
            tcp: tcp(resolver.clone()),
            to_proxy: tcp(Resolver::new(None, blocking)),
            resolver,
            proxy,
            always_tunnel,
        }
    }

    async fn connect(mut self, to: Uri) -> Result<TokioIo<ProxyStream>, BoxError> {
        self.resolver.check_literal(&to)?;
        let Some(proxy) = &self.proxy else {
            poll_fn(|cx| self.tcp.poll_ready(cx)).await?;
            let stream = self.tcp.call(to).await?.into_inner();
            return Ok(TokioIo::new(ProxyStream {
                stream,
                forwards: false,
            }));
        };
        poll_fn(|cx| self.to_proxy.poll_ready(cx)).await?;
        let connected = self.to_proxy.call(proxy.uri()).await;
        let stream = connected.map_err(|error| unreachable(proxy, &error))?.into_inner();
        if self.always_tunnel || to.scheme_str() == Some("https") {
            let stream = tunnel(stream, &to, proxy).await.map_err(io::Error::other)?;
            return Ok(TokioIo::new(ProxyStream {
                stream,
                forwards: false,
            }));
        }
        Ok(TokioIo::new(ProxyStream { stream, forwards: true }))
    }
}

fn tcp(resolver: Resolver) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.set_nodelay(true);
    // Allow `https`: TLS runs on top. Without the feature, the destination was refused.
    tcp.enforce_http(false);
    tcp
}

fn unreachable(proxy: &Proxy, error: &(dyn Error + 'static)) -> io::Error {
    io::Error::other(format!(
        "the proxy {} cannot be reached: {}",
        proxy.origin(),
        root_cause(error)
    ))
}

impl Service<Uri> for ProxyConnector {
    type Response = TokioIo<ProxyStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().connect(to))
    }
}

impl Connection for ProxyStream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.forwards)
    }
}

impl AsyncRead for ProxyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProxyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
