//! What a receiver answers by gRPC, and what becomes of the spans.

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

use super::{builder, by_grpc, patient, span, world, world_with};
use crate::grpc_server::{GrpcServer, Says};
use crate::support::{LONG, assert_shows_nothing_of, key_of, once};

const BAD: &str = "the-poison";

/// A registry of one tenant that sends to a server with a script.
fn at(server: &GrpcServer) -> TracerRegistry {
    let builder = builder(&server.url, &["a"], &Fingerprinter::new());
    builder.build().expect("valid")
}

#[test]
fn what_passes_is_repeated_until_it_is_delivered_and_is_delivered_once() {
    let world = world(&["a"], by_grpc());
    let statuses = [408, 502, 503, 504].map(Fault::status);
    let told: Vec<_> = statuses
        .into_iter()
        .chain([Fault::reset()])
        .map(|fault| world.collector.fault(fault.times(1)))
        .collect();
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!(world.names("a"), ["span"]);
    for fault in told {
        assert_eq!(world.collector.fault_hits(fault), 1);
    }
    assert_eq!(world.status("a").spans.delivered, 1);
}

#[test]
fn an_answer_without_its_end_is_no_success_and_what_it_was_for_arrives_twice() {
    let world = world(&["a"], by_grpc());
    let fault = world.collector.fault(Fault::truncate().times(1));
    world.tenant("a").start_span("span").end();
    world.flush();
    assert_eq!(world.collector.fault_hits(fault), 1);
    assert_eq!(world.names("a"), ["span", "span"]);
    assert_eq!(world.status("a").spans.delivered, 1);
}

#[test]
fn a_page_with_a_success_is_refused_once_and_not_divided() {
    let server = GrpcServer::start(vec![Says::page(200)]);
    let registry = builder(&server.url, &["a"], &Fingerprinter::new())
        .export(patient())
        .build()
        .expect("valid");
    for _ in 0..20 {
        span(&registry, "span");
    }
    let report = registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 20, "{report}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn retry_info_is_waited_for_also_by_a_flush() {
    let world = world(&["exhausted", "unavailable"], by_grpc());
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
fn spans_rejected_by_partial_success_are_counted_and_not_repeated() {
    let world = world(&["a"], patient());
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
fn one_span_that_is_refused_is_dropped_alone() {
    let too_large = Fault::status(413).body("a text of its own");
    for (fault, code, reason) in [
        (Fault::status(400), 3, DropReason::Refused),
        (too_large, 8, DropReason::TooLarge),
    ] {
        let world = world(&["a", "b"], patient());
        let fault = world.collector.fault(fault.when_body_contains(BAD));
        for n in 0..100 {
            let name = if n == 57 { BAD.to_owned() } else { n.to_string() };
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
fn what_is_too_large_together_arrives_in_parts() {
    let export = Export {
        compression: Some(Compression::None),
        ..patient()
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
fn a_key_that_is_refused_and_a_service_that_is_not_there_are_not_about_the_spans() {
    let gone = Fault::redirect("http://127.0.0.2:9/");
    for (fault, reason, said) in [
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
        (gone, DropReason::Refused, "redirects elsewhere (307)"),
    ] {
        let export = Export {
            retry: once().retry,
            ..patient()
        };
        let world = world(&["a"], export);
        let fault = world.collector.fault(fault);
        for _ in 0..100 {
            world.tenant("a").start_span("span").end();
        }
        let report = world.registry.force_flush(LONG);
        assert_eq!(report.tracers[0].dropped[&reason], 100, "{said}");
        assert_eq!(world.collector.fault_hits(fault), 1, "{said}");
        assert!(report.to_string().contains(said), "{report}");
    }
}

#[test]
fn what_is_not_grpc_is_judged_by_its_status_and_what_breaks_off_is_repeated() {
    let without_status = Says::Answer {
        status: 200,
        headers: vec![("content-type", "application/grpc")],
        body: vec![0; 5],
        trailers: None,
    };
    let script = vec![
        Says::page(502),
        Says::Reset,
        without_status,
        Says::page(401),
        Says::page(200),
        Says::taken(&[0; 5]),
    ];
    let server = GrpcServer::start(script);
    let registry = at(&server);
    span(&registry, "repeated");
    let report = registry.force_flush(LONG);
    assert_eq!(
        server.asked().len(),
        5,
        "the gateway, the reset, the end without a status, the key, the page"
    );
    assert_eq!(
        report.tracers[0].dropped.get(&DropReason::Refused),
        Some(&1),
        "{report}"
    );
    let said = "answered 200 with text/html, which is no answer of a receiver: no gRPC here";
    assert!(report.to_string().contains(said), "{report}");
    span(&registry, "taken");
    assert_eq!(registry.force_flush(LONG).tracers[0].delivered, 1);
    assert_eq!(server.asked().len(), 6);
}

#[test]
fn an_answer_may_be_compressed_as_the_request_is() {
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // One span of the request was rejected.
    gzip.write_all(b"\x0a\x02\x08\x01").expect("memory");
    let message = gzip.finish().expect("memory");
    let mut frame = vec![1];
    frame.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    frame.extend(message);
    let Says::Answer {
        status,
        mut headers,
        body,
        trailers,
    } = Says::taken(&frame)
    else {
        unreachable!("an answer")
    };
    headers.push(("grpc-encoding", "gzip"));
    let server = GrpcServer::start(vec![Says::Answer {
        status,
        headers,
        body,
        trailers,
    }]);
    let registry = at(&server);
    span(&registry, "rejected");
    let report = registry.force_flush(LONG);
    assert_eq!(
        report.tracers[0].dropped.get(&DropReason::Rejected),
        Some(&1),
        "{report}"
    );
    assert_eq!(server.asked()[0]["grpc-accept-encoding"], "gzip,identity");
}

/// A server of HTTP/2 that ends each connection with a text of its own (GOAWAY, RFC 9113, 6.8).
fn going_away(says: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // Ends with the process: it does nothing that a test waits for.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // The client's preface, and its frames up to the first HEADERS: then a request waits for the answer.
            stream.read_exact(&mut [0; 24]).expect("a preface");
            let mut head = [0; 9];
            while head[3] != 1 {
                stream.read_exact(&mut head).expect("the head of a frame");
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = Read::by_ref(&mut stream).take(length.into());
                std::io::copy(&mut payload, &mut std::io::sink()).expect("a frame");
            }
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let length = u32::try_from(8 + says.len()).expect("short").to_be_bytes();
            let mut frame = length[1..].to_vec();
            // GOAWAY, no flags, of the connection; no stream was served; ENHANCE_YOUR_CALM.
            frame.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11]);
            frame.extend(says.as_bytes());
            stream.write_all(&[&settings[..], &frame].concat()).expect("it listens");
            // Until the client closes: a reset would overtake the frame.
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    url
}

#[test]
fn a_key_in_the_text_that_ends_a_connection_is_not_shown() {
    let key = key_of("a");
    for (says, is_shown) in [
        ("quota".to_owned(), true),
        (key.clone(), false),
        (key.replace('_', "%5F"), false),
    ] {
        let url = going_away(says.clone());
        let export = Export {
            retry: once().retry,
            ..by_grpc()
        };
        let registry = builder(&url, &["a"], &Fingerprinter::new()).export(export).build();
        let registry = registry.expect("valid");
        span(&registry, "span");
        let report = registry.force_flush(LONG);
        let shown = format!("{report} {report:?} {:?}", registry.status());
        let expected = if is_shown { &*says } else { "receiver's text withheld: " };
        assert!(shown.contains(expected), "{shown}");
        assert_shows_nothing_of(&key, &shown);
    }
}
