//! A server on a free port, and its clients.

use std::net::SocketAddr;

use axum::Router;
use bytes::Bytes;
use http::{HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracer_registry::tower::{TenantLayer, TenantSource};
use tracer_registry_collector::Span;

use crate::support::{World, wait_for};

/// An HTTP service on loopback. Stops when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    serving: JoinHandle<()>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Server {
    pub(super) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = async {
            axum::serve(listener, router).await.expect("serves until aborted");
        };
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            serving: tokio::spawn(serving),
        }
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers).await.expect("an answer")
    }

    /// Returns `None` if the connection breaks.
    pub(super) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        let request = request.body(Full::default()).expect("a request");
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        Some(Answer {
            status: head.status,
            body: body.collect().await.ok()?.to_bytes(),
        })
    }

    /// Sends bytes and reads until the response contains `until`. Dropping the stream closes the
    /// connection.
    pub(super) async fn begin(&self, request: &str, until: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut response = Vec::new();
        while !String::from_utf8_lossy(&response).contains(until) {
            let mut more = [0; 1024];
            let read = stream.read(&mut more).await.expect("an answer");
            assert!(read > 0, "no {until:?} in {:?}", String::from_utf8_lossy(&response));
            response.extend_from_slice(&more[..read]);
        }
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        assert_eq!(self.status, StatusCode::OK);
        String::from_utf8(self.body.to_vec()).expect("text")
    }
}

pub(super) async fn get_as(server: &Server, tenant: &str, path: &str) -> Answer {
    server.get(path, &[("x-tenant", tenant)]).await
}

/// Creates a layer that reads the tenant from the header `x-tenant`.
pub(super) fn header_source(world: &World) -> TenantLayer {
    let source = TenantSource::header(HeaderName::from_static("x-tenant"));
    TenantLayer::new(world.registry.clone(), source)
}

/// Waits until this many spans of a tenant have ended, then exports them. A server may end a span
/// after the client has the response.
pub(super) fn wait_for_ended(world: &World, tenant: &str, spans: u64) {
    tokio::task::block_in_place(|| {
        let accepted = || world.status(tenant).spans.accepted;
        wait_for("spans that ended", accepted, |ended| *ended >= spans);
        world.flush();
    });
    assert_eq!(
        world.status(tenant).spans.accepted,
        spans,
        "{}",
        world.project(tenant).tree()
    );
}

pub(super) fn attribute<'s>(span: &'s Span, name: &str) -> &'s serde_json::Value {
    span.attributes.get(name).unwrap_or(&serde_json::Value::Null)
}

pub(super) fn path(span: &Span) -> &str {
    attribute(span, "url.path").as_str().expect("a path")
}
