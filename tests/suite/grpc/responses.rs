//! Responses over gRPC: retries, drops and malformed responses.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use opentelemetry::trace::Span as _;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Compression, Export};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry_collector::{CollectorBuilder, Fault};

use super::{builder, grpc_export, on_flush_only, span, world, world_with};
use crate::grpc_server::{GrpcServer, Step};
use crate::support::{LONG, assert_shows_nothing_of, key_of, once};

const BAD_SPAN: &str = "the-poison";

/// Creates a registry with tenant `a`, which exports to `server`.
fn registry_for(server: &GrpcServer) -> TracerRegistry {
    let builder = builder(&server.url, &["a"], &Fingerprinter::new());
    builder.build().expect("valid")
}

#[test]
fn transient_failures_are_retried_until_one_delivery() {
    let world = world(&["a"], grpc_export());
    let statuses = [408, 502, 503, 504].map(Fault::status);
    let faults: Vec<_> = statuses
        .into_iter()
        .chain([Fault::reset()])
        .map(|fault| world.collector.fault(fault.times(1)))
        .collect();
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
    for fault in faults {
        assert_eq!(world.collector.fault_hits(fault), 1);
    }
    assert_eq!(world.status("a").spans.delivered, 1);
}

#[test]
fn a_truncated_response_is_retried_and_its_spans_arrive_twice() {
    let world = world(&["a"], grpc_export());
    let fault = world.collector.fault(Fault::truncate().times(1));
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!(world.collector.fault_hits(fault), 1);
    assert_eq!(world.names("a"), ["span", "span"]);
    assert_eq!(world.status("a").spans.delivered, 1);
}

#[test]
fn a_page_with_status_200_is_refused_without_splitting_the_batch() {
    let server = GrpcServer::start(vec![Step::page(200)]);
    let registry = builder(&server.url, &["a"], &Fingerprinter::new())
        .export(on_flush_only())
        .build()
        .expect("valid");
    for _ in 0..20 {
        span(&registry, "span");
    }
    let report = registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 20, "{report}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_flush_waits_for_retry_info() {
    let world = world(&["exhausted", "unavailable"], grpc_export());
    for (status, tenant) in [(429, "exhausted"), (503, "unavailable")] {
        let fault = Fault::status(status).retry_after("1").times(1).only(key_of(tenant));
        world.collector.fault(fault);
        world.tenant(tenant).start_span("span").end();
    }
    let begun = Instant::now();
    world.flush();
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    for tenant in ["exhausted", "unavailable"] {
        assert_eq!(world.names(tenant), ["span"], "{tenant}");
    }
}

#[test]
fn spans_rejected_by_partial_success_are_counted_and_not_retried() {
    let world = world(&["a"], on_flush_only());
    let fault = world.collector.fault(Fault::partial_success(2).times(1));
    for name in ["one", "two", "three", "four", "five"] {
        world.tenant("a").start_span(name).end();
    }
    let report = world.registry.force_flush(LONG);
    let a = &report.tracers[0];
    assert_eq!((a.delivered, a.dropped[&DropReason::Rejected]), (3, 2));
    assert!(matches!(
        a.last_error,
        Some(ExportError::PartialSuccess { rejected: 2, .. })
    ));
    assert_eq!(world.collector.fault_hits(fault), 1);
    assert_eq!(world.names("a"), ["three", "four", "five"]);
}

#[test]
fn a_refused_span_is_dropped_alone() {
    let too_large = Fault::status(413).body("custom text");
    for (fault, code, reason) in [
        (Fault::status(400), 3, DropReason::Refused),
        (too_large, 8, DropReason::TooLarge),
    ] {
        let world = world(&["a", "b"], on_flush_only());
        let fault = world.collector.fault(fault.when_body_contains(BAD_SPAN));
        for n in 0..100 {
            let name = if n == 57 { BAD_SPAN.to_owned() } else { n.to_string() };
            world.tenant("a").start_span(name).end();
            world.tenant("b").start_span("of b").end();
        }
        let report = world.registry.force_flush(LONG);
        let a = &report.tracers[0];
        assert_eq!((a.delivered, a.dropped[&reason], a.lost(), a.pending), (99, 1, 1, 0));
        assert!(
            matches!(a.last_error, Some(ExportError::Grpc { code: seen, .. }) if seen == code),
            "{a}"
        );
        assert_eq!(report.tracers[1].delivered, 100);
        let good: Vec<String> = (0..100).filter(|n| *n != 57).map(|n| n.to_string()).collect();
        assert_eq!(world.names("a"), good);
        let refused = world.collector.fault_hits(fault);
        assert!((7..=8).contains(&refused), "{refused}");
    }
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let export = Export {
        compression: Some(Compression::None),
        ..on_flush_only()
    };
    let limited = |collector: CollectorBuilder| collector.max_body_bytes(20_000);
    let world = world_with(&["a"], limited, |builder| builder.export(export));
    for n in 0..50 {
        let text = if n == 20 { "x".repeat(30_000) } else { "x".repeat(1000) };
        world
            .tenant("a")
            .in_span(n.to_string(), |span| span.set_attribute("text", text));
    }
    let report = world.registry.force_flush(LONG);
    let a = &report.tracers[0];
    assert_eq!(
        (a.delivered, a.dropped[&DropReason::TooLarge], a.lost()),
        (49, 1, 1),
        "{a}"
    );
    assert_eq!(world.names("a").len(), 49);
}

#[test]
fn a_refused_key_or_a_missing_service_does_not_split_the_batch() {
    let redirect = Fault::redirect("http://127.0.0.2:9/");
    for (fault, reason, expected) in [
        (
            Fault::status(401),
            DropReason::Unauthorized,
            "answered UNAUTHENTICATED (16)",
        ),
        (
            Fault::status(403),
            DropReason::Unauthorized,
            "answered PERMISSION_DENIED (7)",
        ),
        (Fault::status(404), DropReason::Refused, "answered UNIMPLEMENTED (12)"),
        (redirect, DropReason::Refused, "redirects (307)"),
    ] {
        let export = Export {
            retry: once().retry,
            ..on_flush_only()
        };
        let world = world(&["a"], export);
        let fault = world.collector.fault(fault);
        for _ in 0..100 {
            world.tenant("a").start_span("span").end();
        }
        let report = world.registry.force_flush(LONG);
        assert_eq!(report.tracers[0].dropped[&reason], 100, "{expected}");
        assert_eq!(world.collector.fault_hits(fault), 1, "{expected}");
        assert!(report.to_string().contains(expected), "{report}");
    }
}

#[test]
fn non_grpc_responses_are_classified_by_status_and_broken_ones_are_retried() {
    let without_status = Step::Reply {
        status: 200,
        headers: vec![("content-type", "application/grpc")],
        body: vec![0; 5],
        trailers: None,
    };
    let script = vec![
        Step::page(502),
        Step::Reset,
        without_status,
        Step::page(401),
        Step::page(200),
        Step::success(&[0; 5]),
    ];
    let server = GrpcServer::start(script);
    let registry = registry_for(&server);
    span(&registry, "retried");
    let report = registry.force_flush(LONG);
    assert_eq!(server.requests().len(), 5, "502, reset, missing status, 401, page");
    assert_eq!(
        report.tracers[0].dropped.get(&DropReason::Refused),
        Some(&1),
        "{report}"
    );
    let expected = "answered 200 with text/html, which is not an OTLP response: no gRPC here";
    assert!(report.to_string().contains(expected), "{report}");
    span(&registry, "delivered");
    assert_eq!(registry.force_flush(LONG).tracers[0].delivered, 1);
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_response_may_be_compressed_like_the_request() {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // One span of the request was rejected.
    gzip.write_all(b"\x0a\x02\x08\x01").expect("memory");
    let message = gzip.finish().expect("memory");
    let mut frame = vec![1];
    frame.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    frame.extend(message);
    let Step::Reply {
        status,
        mut headers,
        body,
        trailers,
    } = Step::success(&frame)
    else {
        unreachable!("a response")
    };
    headers.push(("grpc-encoding", "gzip"));
    let server = GrpcServer::start(vec![Step::Reply {
        status,
        headers,
        body,
        trailers,
    }]);
    let registry = registry_for(&server);
    span(&registry, "rejected");
    let report = registry.force_flush(LONG);
    assert_eq!(
        report.tracers[0].dropped.get(&DropReason::Rejected),
        Some(&1),
        "{report}"
    );
    assert_eq!(server.requests()[0]["grpc-accept-encoding"], "gzip,identity");
}

/// Starts an HTTP/2 server that ends each connection with `debug_data` in a GOAWAY frame (RFC 9113,
/// 6.8).
fn goaway_server(debug_data: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // Detached: no test waits for this thread.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // Read the client's preface and its frames up to the first HEADERS. Then a request is
            // waiting.
            stream.read_exact(&mut [0; 24]).expect("a preface");
            let mut head = [0; 9];
            while head[3] != 1 {
                stream.read_exact(&mut head).expect("the head of a frame");
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = Read::by_ref(&mut stream).take(length.into());
                std::io::copy(&mut payload, &mut std::io::sink()).expect("a frame");
            }
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let length = u32::try_from(8 + debug_data.len()).expect("short").to_be_bytes();
            let mut frame = length[1..].to_vec();
            // GOAWAY without flags, on stream 0; last stream 0; ENHANCE_YOUR_CALM.
            frame.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]);
            frame.extend(debug_data.as_bytes());
            stream
                .write_all(&[&settings[..], &frame].concat())
                .expect("an open connection");
            // Read until the client closes. A reset could overtake the frame.
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    url
}

#[test]
fn a_key_in_a_goaway_frame_is_never_shown() {
    let key = key_of("a");
    for (debug_data, is_shown) in [
        ("quota".to_owned(), true),
        (key.clone(), false),
        (key.replace('_', "%5F"), false),
    ] {
        let url = goaway_server(debug_data.clone());
        let export = Export {
            retry: once().retry,
            ..grpc_export()
        };
        let registry = builder(&url, &["a"], &Fingerprinter::new()).export(export).build();
        let registry = registry.expect("valid");
        span(&registry, "span");
        let report = registry.force_flush(LONG);
        let shown = format!("{report} {report:?} {:?}", registry.status());
        let expected = if is_shown {
            &*debug_data
        } else {
            "receiver message withheld: "
        };
        assert!(shown.contains(expected), "{shown}");
        assert_shows_nothing_of(&key, &shown);
    }
}
