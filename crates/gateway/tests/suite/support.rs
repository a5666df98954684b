//! A gateway with the local collector behind it, and a client.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tracer_registry::config::{Config, SpoolMode};
use tracer_registry_collector::LocalCollector;
use tracer_registry_gateway::{Gateway, GatewayStatus, StartError};
use tracer_registry_spool::test::TestStore;

/// Time within which everything in a test happens.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Tokens of the callers.
pub(crate) const ACME: &str = "token-of-acme-backend";
pub(crate) const GLOBEX: &str = "token-of-globex-backend";
pub(crate) const SHARED: &str = "token-of-shared-api";
pub(crate) const SPLIT: &str = "token-of-split-api";
pub(crate) const PATHS: &str = "token-of-path-api";

/// Tokens of the admin listener.
pub(crate) const ADMIN: &str = "token-of-the-admin";
pub(crate) const SCRAPER: &str = "token-of-the-scraper";

/// Keys of the tenants at the backend.
pub(crate) const KEYS: [(&str, &str); 2] = [("acme", "backend-key-of-acme"), ("globex", "backend-key-of-globex")];

const CALLERS: &str = r#"
[gateway.callers.acme-backend]
token = { file = "tokens/acme" }
tenant = "acme"

[gateway.callers.globex-backend]
token = { file = "tokens/globex" }
tenant = "globex"

[gateway.callers.shared-api]
token = { file = "tokens/shared" }
tenant = { header = "x-tenant", allow = ["acme", "globex", "team-*"] }

[gateway.callers.split-api]
token = { file = "tokens/split" }
tenant = { resource = "tenant.id", allow = ["acme", "globex"] }

[gateway.callers.path-api]
token = { file = "tokens/path" }
tenant = { path = true, allow = ["acme", "globex"] }
"#;

/// A gateway, its backend and its files.
pub(crate) struct Service {
    gateway: Option<Gateway>,
    /// Lines that say how the tenants' data is sent.
    defaults: &'static str,
    pub(crate) collector: LocalCollector,
    folder: TempDir,
    pub(crate) client: TestClient,
}

impl Service {
    /// Starts a gateway with further lines for its table.
    pub(crate) fn start(gateway: &str) -> Self {
        Self::with(gateway, "")
    }

    /// Starts a gateway with further lines for its table, and further tables.
    pub(crate) fn with(gateway: &str, tables: &str) -> Self {
        let service = Self::prepare(gateway, tables);
        service.start_again().expect("the configuration is valid")
    }

    /// Starts a gateway whose tenants' backend has sessions, or other lines for `[defaults]`.
    pub(crate) fn with_defaults(defaults: &'static str, tables: &str) -> Self {
        let mut service = Self::prepare("", tables);
        service.defaults = defaults;
        service.write_config("", tables);
        service.start_again().expect("the configuration is valid")
    }

    /// Starts a gateway on a store in memory, with lines for `[defaults]` and further tables.
    pub(crate) fn on_store(mode: SpoolMode, store: &Arc<TestStore>, defaults: &'static str, tables: &str) -> Self {
        let mut service = Self::prepare("", tables);
        service.defaults = defaults;
        service.write_config("", tables);
        let config = Config::load_files_for_gateway(service.path("gateway.toml")).unwrap();
        let gateway = Gateway::start_with(config, |registry| {
            let store = Arc::clone(store);
            registry.store(mode, move |notify| Ok(store.open(&notify)))
        });
        service.gateway = Some(gateway.unwrap());
        service
    }

    /// Writes the files and starts the backend.
    pub(crate) fn prepare(gateway: &str, tables: &str) -> Self {
        let collector = KEYS
            .into_iter()
            .fold(
                LocalCollector::builder().record_requests(1 << 20),
                |collector, (name, key)| collector.project(name, key),
            )
            .start()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| fs::write(folder.path().join(path), content).unwrap();
        for sub in ["keys", "tokens"] {
            fs::create_dir(folder.path().join(sub)).unwrap();
        }
        for (tenant, key) in KEYS {
            write(&format!("keys/{tenant}"), key);
        }
        for (name, token) in [
            ("acme", ACME),
            ("globex", GLOBEX),
            ("shared", SHARED),
            ("split", SPLIT),
            ("path", PATHS),
            ("admin", ADMIN),
            ("metrics", SCRAPER),
        ] {
            write(&format!("tokens/{name}"), token);
        }
        let service = Self {
            gateway: None,
            defaults: "backend = 'otlp'",
            collector,
            folder,
            client: TestClient::new(),
        };
        service.write_config(gateway, tables);
        service
    }

    pub(crate) fn write_config(&self, gateway: &str, tables: &str) {
        let (url, defaults) = (self.collector.url(), self.defaults);
        let config = format!(
            r#"
            [defaults]
            {defaults}
            endpoint = "{url}"
            api_key = {{ file = "keys/{{tenant}}" }}
            [tenants.acme]
            [tenants.globex]
            [gateway]
            http = "127.0.0.1:0"
            grpc = "127.0.0.1:0"
            {gateway}
            {CALLERS}
            {tables}
            "#
        );
        fs::write(self.folder.path().join("gateway.toml"), config).unwrap();
    }

    pub(crate) fn start_again(mut self) -> Result<Self, StartError> {
        let config = Config::load_files_for_gateway(self.path("gateway.toml")).unwrap();
        self.gateway = Some(Gateway::start(config)?);
        Ok(self)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("started")
    }

    pub(crate) fn take_gateway(&mut self) -> Gateway {
        self.gateway.take().expect("started")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.gateway().http().unwrap()
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.gateway().grpc().unwrap()
    }

    pub(crate) fn status(&self) -> GatewayStatus {
        self.gateway().status()
    }

    /// Posts protobuf to `/v1/traces`, with further headers.
    pub(crate) fn post(&self, token: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = self
            .request("/v1/traces", token)
            .header("content-type", "application/x-protobuf");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send(request.body(body.into()).unwrap())
    }

    /// Returns a `POST` request over HTTP/1.1.
    pub(crate) fn request(&self, path: &str, token: &str) -> http::request::Builder {
        Request::post(format!("http://{}{path}", self.http())).header("authorization", format!("Bearer {token}"))
    }

    /// Calls a method over gRPC with one framed message.
    pub(crate) fn call(&self, method: &str, token: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::post(format!("http://{}{method}", self.grpc()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send_http2(request.body(body.into()).unwrap())
    }

    /// Delivers what is queued.
    pub(crate) fn flush(&self) {
        let report = self.gateway().registry().force_flush(LONG);
        assert!(report.is_complete(), "{report}");
    }

    /// Returns the names of a project's spans, sorted.
    pub(crate) fn spans(&self, project: &str) -> Vec<String> {
        let spans = self.collector.project(project);
        let mut names: Vec<String> = spans
            .iter()
            .flat_map(|project| project.spans().iter().map(|span| span.name.clone()))
            .collect();
        names.sort();
        names
    }
}

/// A client with its own runtime, so that tests may block.
pub(crate) struct TestClient {
    pub(crate) runtime: Arc<Runtime>,
    http1: Client<HttpConnector, Full<Bytes>>,
    http2: Client<HttpConnector, Full<Bytes>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl TestClient {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let executor = TokioExecutor::new();
        Self {
            runtime: Arc::new(runtime),
            http1: Client::builder(executor.clone()).build_http(),
            http2: Client::builder(executor).http2_only(true).build_http(),
        }
    }

    pub(crate) fn send(&self, request: Request<Bytes>) -> Reply {
        let sent = self.http1.request(request.map(Full::new));
        self.runtime.block_on(async { Reply::read(sent.await.unwrap()).await })
    }

    pub(crate) fn send_http2(&self, request: Request<Bytes>) -> Reply {
        let sent = self.http2.request(request.map(Full::new));
        self.runtime.block_on(async { Reply::read(sent.await.unwrap()).await })
    }
}

impl Reply {
    pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the gRPC status, in trailers or, without a message, in headers.
    pub(crate) fn grpc_status(&self) -> i32 {
        let status = self
            .trailers
            .get("grpc-status")
            .or_else(|| self.headers.get("grpc-status"));
        status.expect("an answer of gRPC").to_str().unwrap().parse().unwrap()
    }
}

/// Attributes of a resource, and names of its spans.
pub(crate) type Block<'b> = (&'b [(&'b str, &'b str)], &'b [&'b str]);

/// Returns a request with one resource and spans of these names.
pub(crate) fn spans(names: &[&str]) -> ExportTraceServiceRequest {
    resources(&[(&[], names)])
}

/// Returns a request with resources, each with attributes and spans of these names.
pub(crate) fn resources(resources: &[Block<'_>]) -> ExportTraceServiceRequest {
    let blocks = resources.iter().map(|(attributes, names)| ResourceSpans {
        resource: Some(Resource {
            attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: names.iter().map(|name| span(name)).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest {
        resource_spans: blocks.collect(),
    }
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn span(name: &str) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_500_000_000,
        ..Span::default()
    }
}

/// Returns the bytes of a request with spans of these names.
pub(crate) fn body(names: &[&str]) -> Vec<u8> {
    spans(names).encode_to_vec()
}

/// Returns a message in a gRPC frame.
pub(crate) fn framed(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(is_compressed)], &length[..], message].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Waits for a change that another thread makes.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LONG;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "the condition never holds");
        std::thread::yield_now();
    }
}
