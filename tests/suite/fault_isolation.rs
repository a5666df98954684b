//! Fault isolation: a failing, hanging or flooding tenant does not affect the others.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use tracer_registry::Enrichment;
use tracer_registry::config::{Export, Retry};
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, key_of, quick, wait_for};

#[test]
fn one_tenants_failures_do_not_affect_another_tenant() {
    for fault in [
        Fault::hang(),
        Fault::status(500),
        Fault::status(401),
        Fault::reset(),
        Fault::status(429).retry_after("60"),
    ] {
        let case = format!("{fault:?}");
        let world = World::new(&["a", "b"]);
        world.collector.fault(fault.only(key_of("a")));
        let (a, b) = (world.tenant("a"), world.tenant("b"));
        let session = b.session("s").start();
        for _ in 0..50 {
            a.start_span("of-a").end();
            b.start_span("of-b").end();
        }
        wait_for("b's spans", || world.project("b").spans().len(), |spans| *spans == 50);
        wait_for(
            "b's session",
            || world.project("b").session(session.id()).is_some(),
            |there| *there,
        );
        let status = wait_for("b's ledger", || world.status("b"), |status| status.spans.pending() == 0);
        assert_eq!(
            (status.spans.delivered, status.spans.lost(), status.last_error),
            (50, 0, None),
            "{case}"
        );
        assert!(world.names("a").is_empty(), "{case}");
        drop(world.registry.shutdown(Duration::from_millis(10)));
    }
}

#[test]
fn healthy_tenants_are_exported_while_most_tenants_hang() {
    let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let export = Export {
        timeout: Some(Duration::from_millis(400)),
        max_concurrent_exports: Some(8),
        ..quick()
    };
    let world = World::with(&tenants, |builder| builder.export(export));
    let (hanging, healthy) = tenants.split_at(40);
    for tenant in hanging {
        world.collector.fault(Fault::hang().only(key_of(tenant)));
    }
    for round in 0..3 {
        for tenant in &tenants {
            world.tenant(tenant).start_span(format!("span-{round}")).end();
        }
        for tenant in healthy {
            // A span is exported again if the receiver answers too late, hence the set.
            let spans = || world.names(tenant).into_iter().collect::<BTreeSet<_>>().len();
            wait_for(tenant, spans, |spans| *spans == round + 1);
        }
    }
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn healthy_tenants_are_exported_when_hanging_tenants_take_every_permit_at_once() {
    let names: Vec<String> = (0..8).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let export = Export {
        timeout: Some(LONG),
        max_concurrent_exports: Some(4),
        ..quick()
    };
    let world = World::with(&tenants, |builder| builder.export(export));
    let (hanging, healthy) = tenants.split_at(4);
    for tenant in hanging {
        world.collector.fault(Fault::hang().only(key_of(tenant)));
        world.tenant(tenant).start_span("span").end();
    }
    let in_flight = || {
        hanging
            .iter()
            .map(|tenant| world.status(tenant).spans.in_flight)
            .sum::<u64>()
    };
    wait_for("requests that hang", in_flight, |count| *count == 4);
    for tenant in healthy {
        world.tenant(tenant).start_span("span").end();
        wait_for(tenant, || world.names(tenant).len(), |spans| *spans == 1);
    }
    // No hanging request has timed out yet.
    for tenant in hanging {
        assert_eq!(world.status(tenant).last_error, None, "{tenant}");
    }
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_tenant_with_many_sessions_at_a_hanging_backend_does_not_take_all_permits() {
    let export = Export {
        timeout: Some(Duration::from_secs(60)),
        max_concurrent_exports: Some(8),
        ..quick()
    };
    let world = World::with(&["a", "b"], |builder| builder.export(export));
    world.collector.fault(Fault::hang().only(key_of("a")));
    let a = world.tenant("a");
    for n in 0..200 {
        let _session = a.session(format!("s{n}")).start();
    }
    wait_for(
        "a's requests",
        || world.status("a").session_events.in_flight,
        |count| *count > 8,
    );
    world.tenant("b").start_span("span").end();
    wait_for("b's span", || world.names("b"), |names| *names == ["span"]);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn a_binding_with_an_unreachable_endpoint_loses_only_its_own_spans() {
    let world = World::with(&["b"], |builder| {
        let unreachable = binding("a").endpoint("http://127.31.7.2:9");
        builder.tenant("a", unreachable).export(Export {
            retry: Retry {
                max_elapsed: Some(Duration::from_millis(30)),
                ..quick().retry
            },
            ..quick()
        })
    });
    for tenant in ["a", "b"] {
        world.tenant(tenant).start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.lost(), 1);
    assert_eq!(world.status("a").spans.dropped[&DropReason::RetriesExhausted], 1);
    assert_eq!(world.names("b"), ["span"]);
}

#[test]
fn a_flood_of_spans_drops_only_spans_of_the_flooding_tenant() {
    let world = World::with(&["flood", "calm"], |builder| {
        builder.export(Export {
            scheduled_delay: Some(Duration::from_secs(3600)),
            max_export_batch_size: Some(100_000),
            max_queue_size: Some(100_000),
            max_queue_bytes: Some(1 << 20),
            ..quick()
        })
    });
    // The receiver accepts nothing for now, so spans in flight stay in memory too.
    let down = world.collector.fault(Fault::status(503));
    let (flood, calm) = (world.tenant("flood"), world.tenant("calm"));
    // Status times are truncated to milliseconds.
    let earliest = std::time::SystemTime::now() - Duration::from_millis(1);
    flood.start_span("waits for others");
    let waiting = world.status("flood").oldest_queued;
    assert!(waiting.is_some_and(|ended| ended >= earliest), "{waiting:?}");
    for index in 0..5000 {
        flood
            .start_span("span")
            .set_attribute(KeyValue::new("text", "x".repeat(200)));
        if index % 50 == 0 {
            calm.start_span("span");
        }
    }
    let (flood_status, calm_status) = (world.status("flood"), world.status("calm"));
    let dropped = flood_status.spans.lost();
    assert!(dropped > 3000, "{flood_status:#?}");
    assert_eq!((calm_status.spans.pending(), calm_status.spans.lost()), (100, 0));
    assert!(flood_status.queued_bytes + calm_status.queued_bytes <= 1 << 20);
    assert!(calm_status.queued_bytes > 100 * 300, "{calm_status:#?}");
    world.collector.clear_fault(down);
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.lost(), dropped, "{report}");
    assert_eq!(world.project("calm").spans().len(), 100);
    let idle = world.status("flood");
    assert_eq!((idle.queued_bytes, idle.oldest_queued), (0, None));
    flood.start_span("room again");
    assert_eq!(world.status("flood").spans.queued, 1);
}

#[test]
fn a_flood_of_large_enrichments_drops_only_enrichments_of_the_flooding_tenant() {
    let world = World::with(&["flood", "calm"], |builder| {
        builder.export(Export {
            scheduled_delay: Some(Duration::from_secs(3600)),
            max_queue_size: Some(100_000),
            max_queue_bytes: Some(1 << 20),
            ..quick()
        })
    });
    let down = world.collector.fault(Fault::status(503));
    let (flood, calm) = (world.tenant("flood"), world.tenant("calm"));
    let (flood_session, calm_session) = (flood.session("s").start(), calm.session("s").start());
    flood.start_span("before");
    for index in 0..2000 {
        flood_session.enrich(Enrichment::new().metadata(format!("key {index}"), "x".repeat(2000)));
        if index % 100 == 0 {
            calm_session.enrich(Enrichment::new().metadata(format!("key {index}"), "x".repeat(200)));
            calm.start_span("span");
        }
    }
    let status = world.status("flood");
    // Some before the first answer of the receiver, some while it is unavailable.
    let dropped = status.session_events.lost();
    let kept = status.session_events.pending();
    assert_eq!((kept + dropped, status.session_events.delivered), (2001, 0));
    assert!((100..300).contains(&kept), "a part of a megabyte: {status:#?}");
    assert!((400_000..=1 << 19).contains(&status.queued_bytes), "{status:#?}");
    let calm_status = world.status("calm");
    assert_eq!(
        (calm_status.session_events.pending(), calm_status.session_events.lost()),
        (21, 0)
    );
    assert_eq!((calm_status.spans.pending(), calm_status.spans.lost()), (20, 0));
    // Spans and events share one byte budget, so the flooding tenant has no room for spans either.
    flood.start_span(format!("large {}", "x".repeat(600_000)));
    assert_eq!(world.status("flood").spans.dropped[&DropReason::QueueFull], 1);
    world.collector.clear_fault(down);
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.lost(), report.pending()), (dropped + 1, 0), "{report}");
    let stored = |tenant: &str, session: &tracer_registry::Session| {
        let project = world.project(tenant);
        let session = project.session(session.id()).expect("started");
        session.metadata.len() as u64
    };
    assert_eq!(
        (stored("flood", &flood_session), stored("calm", &calm_session)),
        (kept - 1, 20)
    );
    for tenant in ["flood", "calm"] {
        assert_eq!(world.status(tenant).queued_bytes, 0, "{tenant}");
    }
    flood_session.enrich(Enrichment::new().metadata("room", "again"));
    world
        .registry
        .force_flush(LONG)
        .tracers
        .iter()
        .for_each(|tracer| assert!(tracer.is_complete(), "{tracer}"));
}
