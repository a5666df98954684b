//! OpenTelemetry's SDKs for Python and Node.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tracer_registry_collector::{Project, Span, SpanKind, StatusCode};

use crate::clients::setup::{Ended, Running, TENANTS, World, token};
use crate::support::LONG;

/// Spans of the two traces of a program, and of the first alone.
const SPANS: usize = 55;
const SPANS_BEFORE_THE_REPORT: usize = 53;

const PYTHON: &str = "opentelemetry_sdk.py";
const NODE: &str = "opentelemetry_sdk.mjs";

/// A program, its protocol and its compression, if any.
type Client = (&'static str, &'static str, Option<&'static str>);

/// The clients that send again after a failure. Node's exporter for gRPC drops the spans.
const REPEATING: [Client; 4] = [
    (PYTHON, "http/protobuf", None),
    (PYTHON, "grpc", None),
    (NODE, "http/json", None),
    (NODE, "http/protobuf", None),
];
const NOT_REPEATING: Client = (NODE, "grpc", None);

/// Starts a program that sends for a tenant.
fn start(world: &World, (program, protocol, compression): Client, tenant: &str, token: &str) -> Running {
    let address = if protocol == "grpc" { &world.grpc } else { &world.http };
    let endpoint = format!("http://{address}");
    let headers = format!("authorization=Bearer%20{token}");
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_LOG_LEVEL", "warn"),
    ];
    if let Some(compression) = compression {
        variables.push(("OTEL_EXPORTER_OTLP_COMPRESSION", compression));
    }
    world.run(&[program, protocol], tenant, &variables)
}

/// Starts the program for each tenant.
fn start_all(world: &World, client: Client) -> [Running; 2] {
    TENANTS.map(|tenant| start(world, client, tenant, &token(tenant)))
}

/// Asserts that a project has exactly the two traces of a program, as they were made.
fn check(project: &Project, tenant: &str, answered: &str) {
    let spans = project.spans();
    assert_eq!(spans.len(), SPANS, "{}", project.tree());
    let by_name: BTreeMap<&str, &Span> = spans.iter().map(|span| (&*span.name, &**span)).collect();
    let id_of = |name: &str| Some(by_name[name].span_id.clone());
    let answer = by_name["answer"];
    assert_eq!(format!("{} {}", answer.trace_id, answer.span_id), answered.trim());
    let numbers = 0..24;
    let tasks = numbers
        .clone()
        .map(|number| (format!("task {number}"), "answer".to_owned()));
    let steps = numbers.map(|number| (format!("step {number}"), format!("task {number}")));
    let others = [
        ("search", "answer"),
        ("rank", "search"),
        ("read", "search"),
        ("grüße 🌍", "answer"),
        ("send", "report"),
    ];
    let children: BTreeMap<String, String> = tasks
        .chain(steps)
        .chain(others.map(|(a, b)| (a.into(), b.into())))
        .collect();
    for span in spans {
        let parent = children.get(&span.name).and_then(|parent| id_of(parent));
        assert_eq!(span.parent_span_id, parent, "{span:?}");
        let root = if ["report", "send"].contains(&&*span.name) {
            "report"
        } else {
            "answer"
        };
        assert_eq!(span.trace_id, by_name[root].trace_id, "{span:?}");
        assert!(by_name[root].start_unix_nanos <= span.start_unix_nanos, "{span:?}");
        assert!(span.start_unix_nanos <= span.end_unix_nanos, "{span:?}");
        assert_eq!(span.resource.attributes["service.name"], tenant, "{span:?}");
        assert_eq!((&*span.scope.name, &*span.scope.version), ("program", "1.2.3"));
        let dropped = [span.dropped_attributes, span.dropped_events, span.dropped_links];
        assert_eq!((dropped, span.duplicate_attributes), ([0; 3], 0), "{span:?}");
        let kind = match &*span.name {
            "answer" => SpanKind::Server,
            "search" => SpanKind::Client,
            "send" => SpanKind::Producer,
            _ => SpanKind::Internal,
        };
        let status = match &*span.name {
            "search" => StatusCode::Ok,
            "read" => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        assert_eq!((span.kind, span.status.code), (kind, status), "{span:?}");
        let attributes = match span.name.strip_prefix("step ") {
            Some(number) => json!({ "number": number.parse::<u8>().expect("a number") }),
            None if span.name == "answer" => json!({
                "text": "grüße 🌍 \"quoted\" \\ \n", "empty": "", "yes": true, "whole": 9_007_199_254_740_991_i64,
                "negative": -42, "fraction": 0.1, "texts": ["a", "ü", ""], "wholes": [1, -2],
                "fractions": [0.5, 1e-300], "truths": [true, false], "nothing": [],
            }),
            None => json!({}),
        };
        assert_eq!(json!(span.attributes), attributes, "{}", span.name);
        let events = match &*span.name {
            "rank" => ["ranked"].as_slice(),
            "read" => &["exception"],
            _ => &[],
        };
        assert_eq!(span.events.iter().map(|event| &*event.name).collect::<Vec<_>>(), events);
        assert_eq!(span.links.len(), usize::from(span.name == "report"));
    }
    let ranked = &by_name["rank"].events[0];
    assert_eq!(json!(ranked.attributes), json!({ "hits": 3, "best": "é" }));
    let read = by_name["read"];
    assert!(read.status.message.ends_with("no such page: ☃"), "{read:?}");
    let exception = &read.events[0].attributes;
    assert_eq!(exception["exception.message"], "no such page: ☃");
    assert!(
        exception["exception.type"].as_str().expect("a text").ends_with("Error"),
        "{read:?}"
    );
    assert!(
        exception["exception.stacktrace"]
            .as_str()
            .expect("a text")
            .contains("no such page: ☃")
    );
    let link = &by_name["report"].links[0];
    assert_eq!((&link.trace_id, &link.span_id), (&answer.trace_id, &answer.span_id));
    assert_eq!(json!(link.attributes), json!({ "reason": "a report" }));
}

/// Runs a program for all tenants at once, and asserts that each project has the traces of its
/// tenant, and that neither the programs nor the gateway report a problem.
fn each_tenant_gets_its_traces(client: Client) {
    let mut world = World::start("otlp", "");
    let answered = start_all(&world, client).map(Running::succeed);
    assert_eq!(world.stop(), "");
    for (tenant, answered) in TENANTS.into_iter().zip(answered) {
        check(&world.collector.project(tenant).expect("created"), tenant, &answered);
    }
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn python_sends_protobuf() {
    each_tenant_gets_its_traces((PYTHON, "http/protobuf", None));
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn python_sends_protobuf_with_gzip() {
    each_tenant_gets_its_traces((PYTHON, "http/protobuf", Some("gzip")));
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn python_sends_over_grpc() {
    each_tenant_gets_its_traces((PYTHON, "grpc", None));
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn python_sends_over_grpc_with_gzip() {
    each_tenant_gets_its_traces((PYTHON, "grpc", Some("gzip")));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_json() {
    each_tenant_gets_its_traces((NODE, "http/json", None));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_json_with_gzip() {
    each_tenant_gets_its_traces((NODE, "http/json", Some("gzip")));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_protobuf() {
    each_tenant_gets_its_traces((NODE, "http/protobuf", None));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_protobuf_with_gzip() {
    each_tenant_gets_its_traces((NODE, "http/protobuf", Some("gzip")));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_over_grpc() {
    each_tenant_gets_its_traces((NODE, "grpc", None));
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn node_sends_over_grpc_with_gzip() {
    each_tenant_gets_its_traces((NODE, "grpc", Some("gzip")));
}

#[test]
#[ignore = "needs Python, Node and the clients of tests/clients: run tests/clients/run"]
fn a_client_with_an_unknown_token_reports_the_refusal() {
    let mut world = World::start("otlp", "");
    let clients = REPEATING.into_iter().chain([NOT_REPEATING]);
    let running: Vec<_> = clients
        .map(|client| (client, start(&world, client, "acme", "an-unknown-token")))
        .collect();
    for ((program, protocol, _), running) in running {
        let Ended { code, stderr, .. } = running.end();
        let message = match (program, protocol) {
            (PYTHON, "grpc") => "error code: StatusCode.UNAUTHENTICATED, error details: missing or unknown credential",
            (PYTHON, _) => "Failed to export spans batch code: 401, reason: Unauthorized",
            (_, "grpc") => "16 UNAUTHENTICATED: missing or unknown credential",
            _ => "OTLPExporterError: Unauthorized",
        };
        assert!(stderr.contains(message), "{program} {protocol}: {stderr}");
        assert_eq!(code, Some(i32::from(program == NODE)), "{program} {protocol}: {stderr}");
    }
    let log = world.stop();
    assert!(log.contains("refused with 401"), "{log}");
    for tenant in TENANTS {
        assert!(world.collector.project(tenant).expect("created").spans().is_empty());
    }
}

#[test]
#[ignore = "needs Python, Node and the clients of tests/clients: run tests/clients/run"]
fn a_client_that_gets_503_sends_again() {
    for client in REPEATING {
        let mut world = World::without_keys("otlp", "");
        let running = start_all(&world, client);
        world.wait_for_log("refused with 503");
        world.write_keys();
        let answered = running.map(Running::end);
        let log = world.stop();
        for (tenant, Ended { stdout, stderr, code }) in TENANTS.into_iter().zip(answered) {
            assert_eq!(code, Some(0), "{client:?} {stderr}\n{log}");
            check(&world.collector.project(tenant).expect("created"), tenant, &stdout);
        }
    }
}

#[test]
#[ignore = "needs Python, Node and the clients of tests/clients: run tests/clients/run"]
fn a_client_sends_again_after_the_gateway_restarts() {
    for client in REPEATING {
        let mut world = World::start("otlp", "");
        let mut running = start_all(&world, client);
        for tenant in TENANTS {
            world.wait_for(tenant, SPANS_BEFORE_THE_REPORT);
        }
        assert_eq!(world.stop(), "");
        // Each client's next attempt finds a server that ends.
        let address = if client.1 == "grpc" { &world.grpc } else { &world.http };
        let ending = TcpListener::bind(address).expect("free again");
        ending.set_nonblocking(true).expect("a socket");
        for running in &mut running {
            running.go_on();
            let deadline = Instant::now() + LONG;
            while let Err(error) = ending.accept() {
                assert!(Instant::now() < deadline, "{client:?} {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
        drop(ending);
        world.serve();
        let answered = running.map(Running::end);
        assert_eq!(world.stop(), "");
        for (tenant, Ended { stdout, stderr, code }) in TENANTS.into_iter().zip(answered) {
            assert_eq!(code, Some(0), "{client:?} {stderr}");
            check(&world.collector.project(tenant).expect("created"), tenant, &stdout);
        }
    }
}
