//! Released clients: OpenTelemetry's exporters, and tonic's gRPC client.

use std::fmt;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracer_registry::config::{self, BackendName, Binding, Compression, Export};
use tracer_registry::{KeySource, TracerRegistry};

use crate::admin::bearer;
use crate::support::{ACME, GLOBEX, LONG, SCRAPER, Service};

/// OpenTelemetry's HTTP client interface on hyper. Exporters call it from threads without a
/// runtime.
struct Hyper {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Arc<Runtime>,
}

impl HttpClient for Hyper {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let sent = self.client.request(request.map(Full::new));
        let answered = self.runtime.spawn(async move {
            let (head, body) = sent.await?.into_parts();
            Ok::<_, HttpError>(Response::from_parts(head, body.collect().await?.to_bytes()))
        });
        Box::pin(async move { answered.await? })
    }
}

impl fmt::Debug for Hyper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hyper")
    }
}

fn provider(service: &Service, protocol: Protocol, token: &str) -> SdkTracerProvider {
    let client = Hyper {
        client: Client::builder(TokioExecutor::new()).build_http(),
        runtime: Arc::clone(&service.client.runtime),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(protocol)
        .with_endpoint(format!("http://{}/v1/traces", service.http()))
        .with_headers([("authorization".to_owned(), format!("Bearer {token}"))].into())
        .with_timeout(LONG)
        .build()
        .unwrap();
    SdkTracerProvider::builder().with_batch_exporter(exporter).build()
}

#[test]
fn exporters_of_opentelemetry_send_protobuf_and_json() {
    let service = Service::start("");
    for (protocol, token, tenant) in [
        (Protocol::HttpBinary, ACME, "acme"),
        (Protocol::HttpJson, GLOBEX, "globex"),
    ] {
        let provider = provider(&service, protocol, token);
        let tracer = provider.tracer("client");
        tracer.in_span("parent", |_| tracer.in_span("child", |_| {}));
        provider.shutdown().unwrap();
        service.flush();
        assert_eq!(service.spans(tenant), ["child", "parent"]);
        let project = service.collector.project(tenant).unwrap();
        let (parent, child) = (
            project.span_named("parent").unwrap(),
            project.span_named("child").unwrap(),
        );
        assert_eq!(child.parent_span_id.as_deref(), Some(&*parent.span_id));
    }
}

#[test]
fn an_exporter_reports_an_unknown_credential() {
    let service = Service::start("");
    let provider = provider(&service, Protocol::HttpBinary, "no-such-token");
    provider.tracer("client").in_span("span", |_| {});
    provider.force_flush().unwrap_err();
    service.flush();
    assert!(service.spans("acme").is_empty());
}

#[test]
fn tonic_sends_over_grpc_with_and_without_gzip() {
    for compression in [Compression::None, Compression::Gzip] {
        let service = Service::start("");
        let export = Export {
            protocol: Some(config::Protocol::Grpc),
            compression: Some(compression),
            ..Export::default()
        };
        let key = KeySource::file(service.path("tokens/acme"));
        let client = TracerRegistry::builder()
            .export(export)
            .tenant(
                "client",
                Binding::default()
                    .backend(BackendName::Otlp)
                    .endpoint(format!("http://{}", service.grpc()))
                    .api_key(key),
            )
            .build()
            .unwrap();
        let tracer = client.tenant("client").unwrap();
        for name in ["one", "two"] {
            tracer.in_span(name, |_| {});
        }
        let report = client.shutdown(LONG);
        assert!(report.is_complete(), "{report}");
        service.flush();
        assert_eq!(service.spans("acme"), ["one", "two"]);
    }
}

#[test]
#[ignore = "needs Python and the parsers of tests/clients: run tests/clients/run"]
fn parsers_of_prometheus_read_both_formats_and_the_alert_rules() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let service = crate::metrics::troubled();
    let folder = tempfile::tempdir().unwrap();
    let formats = [
        ("prometheus", "text/plain"),
        ("openmetrics", "application/openmetrics-text"),
    ];
    let check = || {
        let files = formats.map(|(name, accept)| {
            let headers = [("authorization", &*bearer(SCRAPER)), ("accept", accept)];
            let reply = service.ask("GET", "/metrics", &headers, "");
            let file = folder.path().join(name);
            fs::write(&file, &reply.body).unwrap();
            file
        });
        Command::new(repository.join("target/clients/metrics/bin/python"))
            .arg(repository.join("tests/clients/metrics/check.py"))
            .args(files)
            .arg(repository.join("docs/operations/alerts.yaml"))
            .output()
            .unwrap()
    };
    // A breaker may open or close between the two scrapes.
    let mut checked = check();
    for _ in 0..20 {
        if !checked.stderr.starts_with(b"the formats differ") {
            break;
        }
        checked = check();
    }
    let output = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let numbers: Vec<usize> = output
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [samples, families, rules] = numbers.as_slice() else {
        panic!("{output}")
    };
    assert!(*samples > 100 && *families > 40 && *rules > 20, "{output}");
}
