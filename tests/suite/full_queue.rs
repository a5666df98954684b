//! Drop reasons of a full queue: a slow receiver, a refused key, or an unavailable receiver.

use std::collections::BTreeMap;
use std::net::TcpListener;

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use tracer_registry::config::{Export, ExportMode};
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, Session, TracerHandle};
use tracer_registry_collector::{Endpoint, Fault};

use crate::support::{LONG, World, binding, key_of, once};

const QUEUE: usize = 5;
const EXCESS: u64 = 3;

/// Sends only on a flush and without retries, so that queue length and last outcome are
/// deterministic.
fn world(tenants: &[&str]) -> World {
    World::with(tenants, |builder| {
        builder.export(Export {
            mode: Some(ExportMode::Inline),
            max_queue_size: Some(QUEUE),
            max_queue_bytes: Some(64 << 10),
            ..once()
        })
    })
}

fn overfill(tracer: &TracerHandle) {
    for n in 0..QUEUE as u64 + EXCESS {
        tracer.start_span(format!("span {n}")).end();
    }
}

fn overfill_events(session: &Session) {
    for n in 0..QUEUE as u64 + EXCESS {
        session.enrich(Enrichment::new().metadata("n", n));
    }
}

/// Flushes. Returns the spans and events that were dropped because of a full queue, by reason.
fn full(world: &World) -> [BTreeMap<DropReason, u64>; 2] {
    let report = world.registry.force_flush(LONG);
    let of_a = &report.tracers[0];
    let full = |dropped: &BTreeMap<DropReason, u64>| {
        let of_queue = dropped.iter().filter(|(reason, _)| reason.to_string().contains("full"));
        of_queue.map(|(reason, count)| (*reason, *count)).collect()
    };
    [full(&of_a.dropped), full(&of_a.session_events.dropped)]
}

#[test]
fn a_full_queue_reports_the_last_outcome_at_the_receiver() {
    use DropReason::{QueueFull, QueueFullUnauthorized, QueueFullUnavailable};
    let world = world(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    world.flush();
    for (fault, then) in [
        (Some(Fault::status(503)), QueueFullUnavailable),
        (Some(Fault::status(401)), QueueFullUnauthorized),
        (Some(Fault::status(429)), QueueFull),
        (Some(Fault::reset()), QueueFullUnavailable),
        (Some(Fault::status(400)), QueueFull),
        (Some(Fault::status(403)), QueueFullUnauthorized),
        (None, QueueFull),
        (Some(Fault::status(503).retry_after("1")), QueueFullUnavailable),
        (Some(Fault::status(408)), QueueFullUnavailable),
        (None, QueueFull),
    ] {
        let shown = format!("{fault:?}");
        let fault = fault.map(|fault| world.collector.fault(fault));
        overfill(&a);
        overfill_events(&session);
        assert_eq!(
            full(&world),
            [
                BTreeMap::from([(QueueFull, EXCESS)]),
                BTreeMap::from([(QueueFull, EXCESS)])
            ]
        );
        overfill(&a);
        overfill_events(&session);
        if let Some(fault) = fault {
            world.collector.clear_fault(fault);
        }
        let expected = BTreeMap::from([(then, EXCESS)]);
        assert_eq!(full(&world), [expected.clone(), expected], "{shown}");
    }
}

#[test]
fn spans_and_session_events_report_the_outcome_of_their_own_requests() {
    let world = world(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    world.flush();
    world.collector.fault(Fault::status(503).on(Endpoint::Traces));
    a.start_span("span").end();
    session.enrich(Enrichment::new().metadata("n", 1));
    drop(world.registry.force_flush(LONG));
    overfill(&a);
    overfill_events(&session);
    let reason_count = |reason| BTreeMap::from([(reason, EXCESS)]);
    assert_eq!(
        full(&world),
        [
            reason_count(DropReason::QueueFullUnavailable),
            reason_count(DropReason::QueueFull)
        ]
    );
}

#[test]
fn a_refused_connection_counts_as_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let world = World::with(&[], |builder| {
        builder.tenant("a", binding("a").endpoint(&url)).export(Export {
            mode: Some(ExportMode::Inline),
            max_queue_size: Some(QUEUE),
            ..once()
        })
    });
    let a = world.tenant("a");
    a.start_span("span").end();
    drop(world.registry.force_flush(LONG));
    overfill(&a);
    assert_eq!(
        full(&world)[0],
        BTreeMap::from([(DropReason::QueueFullUnavailable, EXCESS)])
    );
}

#[test]
fn a_drop_caused_by_memory_of_other_tenants_names_no_receiver_failure() {
    let world = World::with(&["down", "calm"], |builder| {
        builder.export(Export {
            mode: Some(ExportMode::Inline),
            max_queue_size: Some(100_000),
            max_queue_bytes: Some(64 << 10),
            ..once()
        })
    });
    world.collector.fault(Fault::status(503).only(key_of("down")));
    let (down, calm) = (world.tenant("down"), world.tenant("calm"));
    for tracer in [&down, &calm] {
        tracer.start_span("first").end();
    }
    drop(world.registry.force_flush(LONG));
    let text = |bytes: usize| KeyValue::new("text", "x".repeat(bytes));
    for _ in 0..200 {
        down.start_span("flood").set_attribute(text(1_000));
    }
    let of_down = world.status("down").spans.dropped;
    assert!(of_down[&DropReason::QueueFullUnavailable] > 100, "{of_down:?}");
    // Exceeds the memory that the other tenant leaves.
    calm.start_span("large").set_attribute(text(40 << 10));
    assert_eq!(
        world.status("calm").spans.dropped,
        BTreeMap::from([(DropReason::QueueFull, 1)])
    );
}
