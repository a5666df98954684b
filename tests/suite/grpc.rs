//! OTLP over gRPC.

mod responses;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::config::{
    BackendName, Binding, Compression, Export, ExportMode, Protocol, Proxy as ProxyConfig, Tls,
};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::BreakerState;
use tracer_registry::{Enrichment, LookupError, RegistryBuilder, TracerRegistry};
use tracer_registry_collector::{CollectorBuilder, Fault};

use crate::child_process::is_child;
use crate::proxy::{Proxy, ProxyRule};
use crate::support::{
    LONG, World, assert_shows_nothing_of, binding, collector, key_of, once, quick, registry, spellings, wait_for,
};
use crate::tls_server::{Authority, TlsOptions, TlsServer};

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn grpc_export() -> Export {
    Export {
        protocol: Some(Protocol::Grpc),
        ..quick()
    }
}

/// Exports only on a flush, so that all spans form one batch.
fn on_flush_only() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(600)),
        ..grpc_export()
    }
}

fn builder(url: &str, tenants: &[&str], fingerprinter: &Fingerprinter) -> RegistryBuilder {
    let defaults = Binding::new().backend(BackendName::Otlp).endpoint(url);
    registry(url, tenants, fingerprinter)
        .defaults(defaults)
        .export(grpc_export())
}

fn world_with(
    tenants: &[&str],
    limit: impl FnOnce(CollectorBuilder) -> CollectorBuilder,
    adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder,
) -> World {
    let fingerprinter = Fingerprinter::new();
    let collector = limit(collector(tenants, &fingerprinter)).start().expect("a free port");
    let registry = adapt(builder(&collector.url(), tenants, &fingerprinter));
    World {
        registry: registry.build().expect("valid"),
        collector,
    }
}

fn world(tenants: &[&str], export: Export) -> World {
    world_with(tenants, |collector| collector, |builder| builder.export(export))
}

#[test]
fn inline_mode_keeps_the_connection_between_flushes() {
    let export = Export {
        mode: Some(ExportMode::Inline),
        ..grpc_export()
    };
    let world = world(&["a"], export);
    for flush in 1..=3 {
        span(&world.registry, "span");
        assert_eq!(world.names("a").len(), flush - 1, "nothing is sent without a flush");
        let report = world.registry.force_flush(LONG);
        assert!(report.is_complete(), "{report}");
        assert_eq!(world.names("a").len(), flush);
    }
}

fn span(registry: &TracerRegistry, name: &str) {
    let a = registry.tenant("a").expect("configured");
    a.start_span(name.to_owned()).end();
}

fn last_error(registry: &TracerRegistry) -> Option<String> {
    let error = registry.status().tracers[0].last_error.clone();
    error.map(|error| error.to_string())
}

#[test]
fn tenants_share_a_connection_and_each_request_has_its_own_key() {
    let proxy = Proxy::start(ProxyRule::Open);
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a", "b"], &fingerprinter).start().expect("a free port");
    let defaults = Binding::new()
        .backend(BackendName::Otlp)
        .endpoint(collector.url())
        .header("x-team", "search")
        .proxy(ProxyConfig::url(&proxy.url));
    let registry = builder(&collector.url(), &["a", "b"], &fingerprinter).defaults(defaults);
    let world = World {
        registry: registry.build().expect("valid"),
        collector,
    };
    world.tenant("a").start_span("first").end();
    world.flush();
    for tenant in ["b", "a", "b"] {
        world.tenant(tenant).start_span(format!("of {tenant}")).end();
        world.flush();
    }
    assert_eq!(world.names("a"), ["first", "of a"]);
    assert_eq!(world.names("b"), ["of b", "of b"]);
    assert_eq!(world.collector.projects().len(), 2);
    assert_eq!(world.collector.requests_without_key(), 0);
    let host = world.collector.addr();
    let heads = proxy.heads();
    assert!(
        heads.len() == 1 && heads[0].starts_with(&format!("CONNECT {host} ")),
        "one connection: {heads:?}"
    );
    for tenant in ["a", "b"] {
        let foreign = if tenant == "a" { "b" } else { "a" };
        world.assert_no_trace_of(&key_of(foreign), tenant);
        world.assert_no_trace_of(&format!("of {foreign}"), tenant);
    }
    let requests = world.collector.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", PATH));
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "20000000u"),
            ("grpc-encoding", "gzip"),
            ("authorization", "redacted"),
            ("x-team", "search"),
        ] {
            assert_eq!(request.header(name), Some(value), "{name}");
        }
    }
}

#[test]
fn grpc_carries_the_same_data_as_http_in_every_compression() {
    let mut trees = Vec::new();
    for (protocol, compression, encoding) in [
        (Protocol::HttpProtobuf, Compression::Gzip, None),
        (Protocol::Grpc, Compression::Gzip, Some("gzip")),
        (Protocol::Grpc, Compression::None, None),
        #[cfg(feature = "zstd")]
        (Protocol::Grpc, Compression::Zstd, Some("zstd")),
    ] {
        let export = Export {
            protocol: Some(protocol),
            compression: Some(compression),
            ..on_flush_only()
        };
        let world = world(&["a"], export);
        let a = world.tenant("a");
        let session = a.session("s").start();
        {
            let _inside = session.enter();
            a.in_span("outer", |span| {
                span.set_attribute("text", "x".repeat(100_000));
                span.add_event("event", vec![KeyValue::new("k", "v")]);
                a.in_span("inner", |_| ());
            });
        }
        session.enrich(Enrichment::new().metric("tokens", 7));
        world.flush();
        let outer = world.span("a", "outer");
        assert_eq!(outer.attributes["text"].as_str().map(str::len), Some(100_000));
        assert_eq!(outer.session_id.as_deref(), Some(session.id()));
        let requests = world.collector.requests();
        let [request] = requests.as_slice() else {
            panic!("not exactly one request: {requests:#?}")
        };
        assert_eq!(request.header("grpc-encoding"), encoding);
        assert_eq!(request.path == PATH, protocol == Protocol::Grpc);
        trees.push(world.project("a").tree());
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
}

#[test]
fn environment_variables_do_not_affect_grpc_exports() {
    let variables = [
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer stolen,x-canary=stolen,te=stolen",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "authorization=Bearer stolen,grpc-timeout=1S,grpc-encoding=stolen",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("https_proxy", "http://127.0.0.1:9"),
    ];
    if !is_child("grpc::environment_variables_do_not_affect_grpc_exports", &variables) {
        return;
    }
    for compression in [Compression::None, Compression::Gzip] {
        let export = Export {
            compression: Some(compression),
            ..grpc_export()
        };
        let world = world(&["a", "b"], export);
        for tenant in ["a", "b"] {
            world.tenant(tenant).start_span(tenant).end();
        }
        world.flush();
        for tenant in ["a", "b"] {
            assert_eq!(world.names(tenant), [tenant]);
            world.assert_no_trace_of("stolen", tenant);
        }
        assert_eq!(world.collector.projects().len(), 2, "no other key was used");
    }
}

#[test]
fn a_key_repeated_by_a_server_is_never_shown() {
    let export = Export {
        retry: once().retry,
        ..on_flush_only()
    };
    let world = world(&["a"], export);
    let key = key_of("a");
    let mut shown = Vec::new();
    for echo in spellings(&key) {
        for status in [400, 401, 404, 413, 500] {
            let fault = Fault::status(status).body(format!("no: {echo} \u{e4}"));
            world.collector.fault(fault);
            world.tenant("a").start_span("span").end();
            let report = world.registry.force_flush(LONG);
            assert_eq!(report.lost(), 1, "{report}");
            shown.push(format!("{report:?} {report} {:?}", world.registry.status()));
            world.collector.clear_faults();
        }
    }
    world.collector.fault(Fault::status(401).body(key.clone()));
    shown.push(format!("{:?}", world.registry.check(CheckMode::Connect)));
    let shown = shown.join(" ");
    assert!(shown.contains("answered UNAUTHENTICATED (16)"), "{shown}");
    assert_shows_nothing_of(&key, &shown);
}

#[test]
fn client_certificates_work_and_a_server_without_http2_is_an_error() {
    let (files, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("own"));
    let client = authority.issue("client-a");
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path)
    };
    let trusting = Tls {
        ca: write("ca.pem", &authority.pem),
        ..Tls::default()
    };
    let known = Tls {
        cert: write("a.pem", &client.cert),
        key: write("a.key", &client.key),
        ..trusting.clone()
    };
    let start = |alpn: &[&'static str]| {
        let options = TlsOptions {
            clients: Some(authority.pem.clone()),
            alpn: alpn.to_vec(),
            ..TlsOptions::default()
        };
        TlsServer::start(&authority.issue("127.0.0.1"), options)
    };
    let registry = |server: &TlsServer, tls: &Tls| {
        let to = |name: &str| binding(name).tls(tls.clone());
        let builder = builder(&server.url, &[], &Fingerprinter::new());
        let builder = builder.tenant("a", to("a")).tenant("b", to("b"));
        // Dropping the registry does not wait for undelivered spans.
        let export = Export {
            drop_timeout: Some(Duration::ZERO),
            ..grpc_export()
        };
        builder.export(export).build().expect("valid")
    };
    // The server prefers HTTP/1.1.
    let server = start(&["http/1.1", "h2"]);
    let both = registry(&server, &known);
    for tenant in ["a", "b", "a"] {
        both.tenant(tenant).expect("configured").start_span("span").end();
        let report = both.force_flush(LONG);
        assert!(report.is_complete(), "{report}");
    }
    let requests = server.requests();
    let keys: Vec<&str> = requests.iter().map(|request| request.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "a"].map(|tenant| format!("Bearer {}", key_of(tenant))));
    for request in &requests {
        assert_eq!((request.connection, request.version), (0, http::Version::HTTP_2));
        assert_eq!(request.client, Some(client.der()));
    }
    let checked = both.check(CheckMode::Connect);
    assert!(
        checked
            .iter()
            .all(|binding| binding.connection == ConnectionCheck::Accepted),
        "{checked:#?}"
    );

    for (alpn, tls, message) in [
        // The server sends the reason after the handshake, and the client may not read it.
        (&["h2"][..], &trusting, "cannot be reached"),
        (
            &["http/1.1"],
            &known,
            "server refused the TLS handshake: NoApplicationProtocol",
        ),
        (&[], &known, "server does not support HTTP/2"),
    ] {
        let server = start(alpn);
        let registry = registry(&server, tls);
        span(&registry, "span");
        wait_for(
            message,
            || last_error(&registry),
            |error| error.as_ref().is_some_and(|error| error.contains(message)),
        );
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn an_unreachable_endpoint_opens_its_breaker_and_gets_everything_after_recovery() {
    let fingerprinter = Fingerprinter::new();
    let reserved = collector(&[], &fingerprinter).listen("127.31.7.9:0").start();
    let address = reserved.expect("a free port").addr().to_string();
    let registry = builder(&format!("http://{address}"), &["a", "b"], &fingerprinter);
    let registry = registry.build().expect("valid");
    span(&registry, "span");
    let endpoint = || registry.status().tracers[0].breakers.endpoint.state;
    wait_for("an open breaker", endpoint, |state| {
        matches!(state, BreakerState::Open { .. })
    });
    let error = registry.status().tracers[0].last_error.clone();
    assert!(matches!(error, Some(ExportError::Connection { .. })), "{error:?}");
    let recovered = collector(&["a"], &fingerprinter).listen(address).start();
    let recovered = recovered.expect("the port is still free");
    let report = registry.force_flush(LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(recovered.project("a").expect("named").spans().len(), 1);
}

#[tokio::test]
async fn a_blocked_current_thread_runtime_does_not_stop_the_export() {
    let world = world(&["a"], grpc_export());
    let a = world.tenant("a");
    a.in_span_async("span", async |_| tokio::task::yield_now().await).await;
    // Blocks the only thread of the runtime.
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
}

#[test]
fn a_destination_that_grpc_cannot_serve_is_a_look_up_error() {
    let registry = builder("http://127.0.0.1:9/v1/traces", &["a"], &Fingerprinter::new())
        .tenant("h", binding("h").backend(BackendName::Honeyhive))
        .build()
        .expect("valid");
    let message = |tenant: &str| match registry.tenant(tenant) {
        Err(error @ LookupError::Destination(_)) => error.to_string(),
        other => panic!("{tenant}: {other:?}"),
    };
    let path = message("a");
    assert!(
        path.contains("http://127.0.0.1:9/v1/traces has a path; a gRPC endpoint is"),
        "{path}"
    );
    let honeyhive = message("h");
    assert!(honeyhive.contains("honeyhive does not support gRPC"), "{honeyhive}");
}
