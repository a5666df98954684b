//! Refused batches: splitting isolates bad spans, and a failing receiver costs few requests.

use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Compression, Export, Protocol};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry_collector::{Endpoint, Fault};

use crate::support::{LONG, World, collector, key_of, once, quick, registry};

const BAD_SPAN: &str = "the-poison";

/// Exports only on a flush, so that all spans form one batch.
fn on_flush_only() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(600)),
        ..quick()
    }
}

fn names(count: usize, bad: &[usize]) -> Vec<String> {
    let name = |n| {
        if bad.contains(&n) {
            format!("{BAD_SPAN}-{n}")
        } else {
            format!("span-{n}")
        }
    };
    (0..count).map(name).collect()
}

fn good(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter(|name| !name.starts_with(BAD_SPAN))
        .cloned()
        .collect()
}

#[test]
fn a_refused_span_is_dropped_alone() {
    for (status, reason, protocol, bad) in [
        (400, DropReason::Refused, Protocol::HttpProtobuf, 0),
        (422, DropReason::Refused, Protocol::HttpJson, 99),
        (413, DropReason::TooLarge, Protocol::HttpProtobuf, 57),
    ] {
        let export = Export {
            protocol: Some(protocol),
            ..on_flush_only()
        };
        let world = World::with(&["a", "b"], |builder| builder.export(export));
        let fault = world
            .collector
            .fault(Fault::status(status).when_body_contains(BAD_SPAN));
        let names = names(100, &[bad]);
        for name in &names {
            world.tenant("a").start_span(name.clone()).end();
            world.tenant("b").start_span("of-b").end();
        }
        let report = world.registry.force_flush(LONG);
        let a = &report.tracers[0];
        assert_eq!(
            (a.delivered, a.dropped[&reason], a.lost(), a.pending),
            (99, 1, 1, 0),
            "{status}"
        );
        assert!(matches!(a.last_error, Some(ExportError::Status { status: seen, .. }) if seen == status));
        assert_eq!(report.tracers[1].delivered, 100, "{status}");
        assert_eq!(world.names("a"), good(&names), "{status}: in order");
        // One refusal for each part with the bad span. A hundred spans are halved six or seven
        // times.
        let refused = world.collector.fault_hits(fault);
        assert!((7..=8).contains(&refused), "{status}: {refused}");
    }
}

#[test]
fn a_span_that_causes_a_server_error_is_dropped_alone() {
    for status in [500, 501, 599] {
        let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
        world
            .collector
            .fault(Fault::status(status).when_body_contains(BAD_SPAN));
        let names = names(100, &[57]);
        for name in &names {
            world.tenant("a").start_span(name.clone()).end();
        }
        let report = world.registry.force_flush(LONG);
        let a = &report.tracers[0];
        assert_eq!(
            (a.delivered, a.dropped[&DropReason::Refused], a.pending),
            (99, 1, 0),
            "{status}"
        );
        let (mut arrived, mut expected) = (world.names("a"), good(&names));
        arrived.sort();
        expected.sort();
        assert_eq!(arrived, expected, "{status}");
    }
}

#[test]
fn all_bad_spans_of_a_batch_are_found_despite_retries() {
    let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
    for fault in [Fault::status(503).times(1), Fault::reset().times(1)] {
        world.collector.fault(fault);
    }
    world.collector.fault(Fault::status(400).when_body_contains(BAD_SPAN));
    let names = names(512, &[0, 1, 100, 255, 256, 300, 511]);
    for name in &names {
        world.tenant("a").start_span(name.clone()).end();
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 7);
    assert_eq!(
        (report.tracers[0].delivered, report.lost(), report.pending()),
        (505, 7, 0)
    );
    assert_eq!(world.names("a"), good(&names));
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a"], &fingerprinter)
        .max_body_bytes(20_000)
        .start()
        .expect("a free port");
    let export = Export {
        compression: Some(Compression::None),
        ..on_flush_only()
    };
    let registry = registry(&collector.url(), &["a"], &fingerprinter)
        .export(export)
        .build()
        .expect("valid");
    let a = registry.tenant("a").expect("configured");
    for n in 0..100 {
        a.in_span(n.to_string(), |span| span.set_attribute("text", "x".repeat(1000)));
    }
    a.in_span("huge", |span| span.set_attribute("text", "x".repeat(30_000)));
    let report = registry.force_flush(LONG);
    let flushed = &report.tracers[0];
    assert_eq!(
        (
            flushed.delivered,
            flushed.dropped[&DropReason::TooLarge],
            flushed.lost()
        ),
        (100, 1, 1)
    );
    let spans = collector.project("a").expect("named").spans().len();
    assert_eq!(spans, 100);
}

#[test]
fn a_receiver_that_refuses_everything_gets_few_requests() {
    for (status, reason) in [
        (404, DropReason::Refused),
        (405, DropReason::Refused),
        (413, DropReason::TooLarge),
    ] {
        let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
        let fault = world.collector.fault(Fault::status(status));
        let mut before = 0;
        for (batch, most) in [15, 1, 1].into_iter().enumerate() {
            for _ in 0..200 {
                world.tenant("a").start_span("span").end();
            }
            let report = world.registry.force_flush(LONG);
            assert_eq!(report.tracers[0].dropped[&reason], 200, "{status}");
            let hits = world.collector.fault_hits(fault);
            assert!(
                hits - before <= most,
                "{status}: batch {batch} took {} requests",
                hits - before
            );
            before = hits;
        }
        // Once the receiver accepts a batch, refused batches are split again.
        world.collector.clear_fault(fault);
        world.tenant("a").start_span("accepted").end();
        world.flush();
        world
            .collector
            .fault(Fault::status(status).when_body_contains(BAD_SPAN));
        let names = names(100, &[31]);
        for name in &names {
            world.tenant("a").start_span(name.clone()).end();
        }
        let report = world.registry.force_flush(LONG);
        assert_eq!((report.tracers[0].delivered, report.lost()), (99, 1), "{status}");
    }
}

#[test]
fn a_refused_key_or_a_redirect_does_not_split_the_batch() {
    for fault in [
        Fault::status(401),
        Fault::status(403),
        Fault::redirect("http://127.0.0.2:9/"),
    ] {
        let export = Export {
            retry: once().retry,
            ..on_flush_only()
        };
        let world = World::with(&["a"], |builder| builder.export(export));
        let fault = world.collector.fault(fault.only(key_of("a")).on(Endpoint::Traces));
        for _ in 0..100 {
            world.tenant("a").start_span("span").end();
        }
        assert_eq!(world.registry.force_flush(LONG).lost(), 100);
        assert_eq!(world.collector.fault_hits(fault), 1);
    }
}
