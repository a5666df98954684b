//! Flush and shutdown of the registry: timeouts and reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::config::Export;
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, LookupError};
use tracer_registry_collector::{Endpoint, Fault};

use crate::support::{AT_ONCE, LONG, World, key_of, quick, wait_for};

/// Exports only on a flush.
fn on_flush_only() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(3_600)),
        timeout: Some(Duration::from_secs(60)),
        ..quick()
    }
}

#[test]
fn a_flush_ends_at_its_timeout_and_reports_pending_entries() {
    let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
    world.collector.fault(Fault::hang());
    let a = world.tenant("a");
    let _session = a.session("s").start();
    a.start_span("span").end();
    let begun = Instant::now();
    let report = world.registry.force_flush(Duration::from_millis(200));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(!report.is_complete());
    assert_eq!((report.pending(), report.lost()), (2, 0));
    assert_eq!(
        (report.tracers[0].pending, report.tracers[0].session_events.pending),
        (1, 1)
    );
    world.collector.clear_faults();
    world.flush();
}

#[test]
fn spans_that_end_after_the_start_of_a_flush_are_not_part_of_it() {
    let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
    let fault = world.collector.fault(Fault::hang());
    let a = world.tenant("a");
    a.start_span("before").end();
    let report = thread::scope(|threads| {
        let flush = threads.spawn(|| world.registry.force_flush(Duration::from_millis(400)));
        wait_for("the request", || world.collector.fault_hits(fault), |hits| *hits == 1);
        for _ in 0..10 {
            a.start_span("after").end();
        }
        flush.join().expect("no panic")
    });
    assert_eq!(report.tracers[0].pending, 1, "{report}");
    world.collector.clear_faults();
    world.flush();
    assert_eq!(world.names("a").len(), 11);
}

#[test]
fn a_hanging_tenant_does_not_delay_the_flush_of_others() {
    let names: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with(&tenants, |builder| builder.export(on_flush_only()));
    world.collector.fault(Fault::hang().only(key_of("t3")));
    for tenant in &tenants {
        world.tenant(tenant).start_span("span").end();
    }
    let report = thread::scope(|threads| {
        let flush = threads.spawn(|| world.registry.force_flush(LONG));
        for tenant in tenants.iter().filter(|tenant| **tenant != "t3") {
            wait_for(
                tenant,
                || world.status(tenant).spans.delivered,
                |delivered| *delivered == 1,
            );
        }
        assert_eq!(
            world.status("t3").spans.delivered,
            0,
            "t3 hangs until the fault is cleared"
        );
        assert!(!flush.is_finished(), "the flush waits for t3");
        world.collector.clear_faults();
        flush.join().expect("no panic")
    });
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(report.tracers.iter().map(|tracer| tracer.delivered).sum::<u64>(), 20);
}

#[test]
fn a_flush_without_pending_data_returns_at_once() {
    let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
    let begun = Instant::now();
    assert!(world.registry.force_flush(LONG).tracers.is_empty());
    let a = world.tenant("a");
    assert!(world.registry.force_flush(LONG).is_complete());
    a.start_span("span").end();
    world.flush();
    assert!(world.registry.force_flush(Duration::MAX).is_complete(), "no timeout");
    assert!(
        world.registry.force_flush(Duration::ZERO).is_complete(),
        "nothing is pending"
    );
    assert!(begun.elapsed() < AT_ONCE);
}

#[test]
fn a_loss_is_reported_by_the_next_flush_only() {
    let world = World::new(&["a"]);
    world.collector.fault(Fault::status(400).times(1).on(Endpoint::Traces));
    world
        .collector
        .fault(Fault::status(400).times(1).on(Endpoint::Sessions));
    let a = world.tenant("a");
    a.start_span("lost").end();
    let _session = a.session("lost").start();
    let both_lost =
        |status: &tracer_registry::status::TracerStatus| status.spans.lost() + status.session_events.lost() == 2;
    wait_for("the losses", || world.status("a"), both_lost);
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.lost(), 2);
    assert_eq!(report.tracers[0].dropped[&DropReason::Refused], 1);
    assert_eq!(report.tracers[0].session_events.dropped[&DropReason::Refused], 1);
    assert!(report.to_string().contains("refused"), "{report}");
    a.start_span("delivered").end();
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.lost(), report.tracers[0].delivered), (0, 1));
    assert_eq!(world.registry.shutdown(LONG).lost(), 0);
}

#[test]
fn concurrent_flushes_each_deliver_their_own_spans() {
    let world = World::with(&["a"], |builder| builder.export(on_flush_only()));
    let a = world.tenant("a");
    thread::scope(|threads| {
        for thread in 0..4 {
            let (a, world) = (&a, &world);
            threads.spawn(move || {
                for n in 0..20 {
                    let name = format!("{thread}-{n}");
                    a.start_span(name.clone()).end();
                    let report = world.registry.force_flush(LONG);
                    assert!(report.is_complete(), "{report}");
                    assert!(world.names("a").contains(&name), "flushed but not received: {name}");
                }
            });
        }
    });
}

#[test]
fn after_shutdown_look_ups_fail_and_new_spans_and_events_are_counted_as_dropped() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    let open = a.start_span("open");
    a.start_span("before").end();
    let report = world.registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    for refused in [
        world.registry.tenant("a").map(drop),
        world.registry.tenant("b").map(drop),
        world.registry.dedicated(a.selector()).map(drop),
        world.registry.get(a.selector()).map(drop),
    ] {
        assert_eq!(refused, Err(LookupError::Shutdown));
    }
    drop(open);
    a.in_span("after", |_| ());
    session.enrich(Enrichment::new().metadata("late", true));
    let _late = a.session("late").start();
    let status = world.status("a");
    assert_eq!(status.spans.dropped[&DropReason::AfterShutdown], 2);
    assert_eq!(status.session_events.dropped[&DropReason::AfterShutdown], 2);
    assert_eq!((status.spans.pending(), status.session_events.pending()), (0, 0));
    let again = world.registry.shutdown(LONG);
    assert_eq!(again.lost(), 4, "{again}");
    assert_eq!(world.registry.shutdown(LONG).lost(), 0);
    assert_eq!(world.names("a"), ["before"]);
}

#[test]
fn shutdown_with_a_hanging_receiver_ends_at_its_timeout_and_drops_the_rest() {
    let world = World::with(&["a", "b"], |builder| builder.export(on_flush_only()));
    world.collector.fault(Fault::hang().only(key_of("a")));
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let session = a.session("s").start();
    session.enrich(Enrichment::new().metadata("m", 1));
    for tracer in [&a, &b] {
        for _ in 0..3 {
            tracer.start_span("span").end();
        }
    }
    let (begun, report) = thread::scope(|threads| {
        let flush = threads.spawn(|| world.registry.force_flush(LONG));
        wait_for(
            "b's spans",
            || world.status("b").spans.delivered,
            |delivered| *delivered == 3,
        );
        assert!(!flush.is_finished(), "the flush waits for a");
        let begun = Instant::now();
        (begun, world.registry.shutdown(Duration::from_millis(300)))
    });
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    // The losses are in the report of the flush or the shutdown, whichever ended first.
    let a = world.status("a");
    assert_eq!(a.spans.dropped[&DropReason::Shutdown], 3);
    assert_eq!(a.session_events.dropped[&DropReason::Shutdown], 2);
    assert_eq!(world.status("b").spans.lost(), 0);
    assert_eq!(report.pending(), 0, "nothing is pending after a shutdown");
    assert_eq!((a.spans.accepted, a.spans.lost()), (3, 3));
}

#[test]
fn shutdown_ends_the_back_off_of_a_request() {
    let export = Export {
        retry: tracer_registry::config::Retry {
            initial_backoff: Some(Duration::from_secs(3_600)),
            max_backoff: Some(Duration::from_secs(3_600)),
            max_elapsed: Some(Duration::from_secs(36_000)),
            ..tracer_registry::config::Retry::default()
        },
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let fault = world.collector.fault(Fault::status(503).times(1));
    world.tenant("a").start_span("span").end();
    wait_for("the first attempt", || world.status("a").last_error, Option::is_some);
    assert_eq!(world.collector.fault_hits(fault), 1);
    let report = world.registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    assert_eq!(world.names("a"), ["span"]);
}

#[test]
fn work_concurrent_with_shutdown_is_refused_delivered_or_counted() {
    for _ in 0..10 {
        let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
        let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
        let world = World::new(&tenants);
        let (created, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|threads| {
            for thread in 0..3 {
                let (world, tenants, created, stop) = (&world, &tenants, &created, &stop);
                threads.spawn(move || {
                    let mut held = Vec::new();
                    for n in (0..).take_while(|_| !stop.load(Ordering::SeqCst)) {
                        let tenant = tenants[(n * 3 + thread) % tenants.len()];
                        let tracer = match (n + thread) % 2 {
                            0 => world.registry.tenant(tenant),
                            _ => world
                                .registry
                                .tenant(tenant)
                                .and_then(|t| world.registry.dedicated(t.selector())),
                        };
                        held.extend(tracer.ok());
                        if let Some(tracer) = held.get(n % held.len().max(1)) {
                            tracer.start_span("span").end();
                            created.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            wait_for("some spans", || created.load(Ordering::SeqCst), |created| *created > 50);
            let report = world.registry.shutdown(LONG);
            assert_eq!(report.pending(), 0);
            wait_for("more spans", || created.load(Ordering::SeqCst), {
                let now = created.load(Ordering::SeqCst);
                move |created| *created > now + 20
            });
            stop.store(true, Ordering::SeqCst);
        });
        let (mut accepted, mut delivered) = (0, 0);
        for tracer in world.registry.status().tracers {
            assert_eq!(tracer.spans.pending(), 0, "{tracer:#?}");
            let others = tracer
                .spans
                .dropped
                .keys()
                .filter(|reason| **reason != DropReason::AfterShutdown);
            assert_eq!(others.count(), 0, "{tracer:#?}");
            accepted += tracer.spans.accepted;
            delivered += tracer.spans.delivered;
        }
        assert_eq!(accepted, created.load(Ordering::SeqCst));
        let stored: usize = tenants.iter().map(|tenant| world.names(tenant).len()).sum();
        assert_eq!(delivered, stored as u64);
    }
}

#[test]
fn concurrent_flushes_and_shutdowns_all_return() {
    let world = Arc::new(World::with(&["a"], |builder| builder.export(on_flush_only())));
    world.collector.fault(Fault::hang());
    world.tenant("a").start_span("span").end();
    let begun = Instant::now();
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let world = Arc::clone(&world);
            thread::spawn(move || match n % 2 {
                0 => world.registry.force_flush(LONG).lost(),
                _ => world.registry.shutdown(Duration::from_millis(100)).lost(),
            })
        })
        .collect();
    let lost: u64 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    assert!(lost >= 1, "the loss is reported");
    assert!(begun.elapsed() < AT_ONCE, "a shutdown ends waiting flushes");
}
