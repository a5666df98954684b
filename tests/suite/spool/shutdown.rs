//! A shutdown leaves on disk what it cannot deliver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Export, SpoolMode};
use tracer_registry::report::Report;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;
use tracer_registry_spool::Kind;
use tracer_registry_spool::test::TestStore;

use crate::support::{AT_ONCE, LONG, World, key_of, quick, registry, wait_for};

const TIMEOUT: Duration = Duration::from_secs(2);

fn world(mode: SpoolMode, store: &Arc<TestStore>, export: Export) -> World {
    let store = Arc::clone(store);
    World::with(&["a", "b"], |builder| {
        builder
            .export(export)
            .store(mode, move |notify| Ok(store.open(&notify)))
    })
}

fn end_spans(world: &World, tenant: &str, count: usize) {
    let tracer = world.tenant(tenant);
    for number in 0..count {
        tracer.start_span(format!("span {number}")).end();
    }
}

/// Returns the spans of a tenant on the disk.
fn on_disk(store: &TestStore, tenant: &str) -> u32 {
    let rows = store.rows(&format!("tenant:{tenant}"), Kind::Spans);
    rows.iter().map(|row| row.items).sum()
}

/// Returns what the report has of a tenant: delivered, spooled and lost spans.
fn counts(report: &Report, tenant: &str) -> (u64, u64, u64) {
    let is_tenant = |selector: String| selector == format!("tenant:{tenant}");
    let found = report
        .tracers
        .iter()
        .find(|tracer| is_tenant(tracer.selector.to_string()));
    let tracer = found.expect("the tenant has a report");
    (tracer.delivered, tracer.spooled, tracer.lost())
}

#[test]
fn what_a_receiver_does_not_accept_is_on_disk_after_a_shutdown_and_the_rest_is_delivered() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let store = Arc::new(TestStore::new());
        let world = world(mode, &store, quick());
        world.collector.fault(Fault::status(503).only(key_of("a")));
        end_spans(&world, "a", 700);
        end_spans(&world, "b", 3);
        let report = world.registry.shutdown(TIMEOUT);
        assert!(report.is_complete(), "{mode:?}: {report}");
        assert_eq!((counts(&report, "a"), counts(&report, "b")), ((0, 700, 0), (3, 0, 0)));
        assert_eq!((report.spooled(), report.pending()), (700, 0));
        assert!(
            report.to_string().contains("tenant:a: 0 spans delivered, 700 spooled"),
            "{report}"
        );
        assert_eq!((on_disk(&store, "a"), on_disk(&store, "b")), (700, 0), "{mode:?}");
        let status = world.registry.status();
        let ledger = &status
            .tracers
            .iter()
            .find(|tracer| tracer.spans.spooled > 0)
            .expect("a")
            .spans;
        assert_eq!((ledger.accepted, ledger.spooled, ledger.pending()), (700, 700, 0));
    }
}

#[test]
fn of_a_batch_that_was_delivered_in_part_the_next_registry_sends_the_rest_alone() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let store = Arc::new(TestStore::new());
        let export = Export {
            max_export_batch_size: Some(4),
            scheduled_delay: Some(LONG),
            ..quick()
        };
        let world = world(mode, &store, export);
        world.collector.fault(Fault::status(413).times(1));
        let down = world
            .collector
            .fault(Fault::status(503).when_body_contains("second half"));
        let tracer = world.tenant("a");
        let names = ["first half 1", "first half 2", "second half 1", "second half 2"];
        for name in names {
            tracer.start_span(name).end();
        }
        let delivered = || world.status("a").spans.delivered;
        wait_for("the first half", delivered, |spans| *spans == 2);
        let report = world.registry.shutdown(TIMEOUT);
        assert_eq!(counts(&report, "a"), (2, 2, 0), "{mode:?}: {report}");
        assert_eq!(on_disk(&store, "a"), 2);
        world.collector.clear_fault(down);
        let store = Arc::clone(&store);
        let builder = registry(&world.collector.url(), &["a"], &Fingerprinter::new());
        let next = builder.store(mode, move |notify| Ok(store.open(&notify)));
        let next = next.build().expect("valid");
        wait_for("the second half", || world.names("a"), |received| received.len() >= 4);
        assert!(next.shutdown(LONG).is_complete());
        assert_eq!(world.names("a"), names, "each once");
    }
}

#[test]
fn a_receiver_that_hangs_does_not_hold_up_a_shutdown() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let store = Arc::new(TestStore::new());
        let world = world(mode, &store, quick());
        world
            .collector
            .fault(Fault::delay(Duration::from_secs(50)).only(key_of("a")));
        end_spans(&world, "a", 5);
        let in_flight = || world.status("a").spans.in_flight;
        wait_for("the request", in_flight, |spans| *spans == 5);
        let begun = Instant::now();
        let report = world.registry.shutdown(TIMEOUT);
        assert!(begun.elapsed() < AT_ONCE);
        assert_eq!(counts(&report, "a"), (0, 5, 0), "{mode:?}: {report}");
        assert_eq!(on_disk(&store, "a"), 5);
    }
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_a_shutdown_and_what_is_not_on_it_is_lost() {
    let store = Arc::new(TestStore::new());
    let world = world(SpoolMode::Overflow, &store, quick());
    store.hold();
    world.collector.fault(Fault::status(503).only(key_of("a")));
    end_spans(&world, "a", 5);
    let begun = Instant::now();
    let report = world.registry.shutdown(TIMEOUT);
    assert!(begun.elapsed() < AT_ONCE);
    assert_eq!(counts(&report, "a"), (0, 0, 5), "{report}");
    assert_eq!(report.tracers[0].dropped, [(DropReason::Shutdown, 5)].into());
}

#[test]
fn rows_of_data_in_memory_stay_on_a_disk_that_hangs() {
    let store = Arc::new(TestStore::new());
    let world = world(SpoolMode::Through, &store, quick());
    world
        .collector
        .fault(Fault::delay(Duration::from_secs(50)).only(key_of("a")));
    end_spans(&world, "a", 5);
    let in_flight = || world.status("a").spans.in_flight;
    wait_for("the request", in_flight, |spans| *spans == 5);
    store.hold();
    let report = world.registry.shutdown(TIMEOUT);
    assert_eq!(counts(&report, "a"), (0, 5, 0), "{report}");
    assert_eq!(on_disk(&store, "a"), 5);
}

#[test]
fn a_registry_that_is_dropped_leaves_its_data_on_disk() {
    let store = Arc::new(TestStore::new());
    let export = Export {
        drop_timeout: Some(TIMEOUT),
        ..quick()
    };
    let world = world(SpoolMode::Overflow, &store, export);
    world.collector.fault(Fault::status(503).only(key_of("a")));
    end_spans(&world, "a", 5);
    drop(world.registry);
    assert_eq!(on_disk(&store, "a"), 5);
}

#[test]
fn dedicated_tracers_are_not_spooled() {
    for mode in [SpoolMode::Overflow, SpoolMode::Through] {
        let store = Arc::new(TestStore::new());
        let world = world(mode, &store, quick());
        world.collector.fault(Fault::status(503).only(key_of("a")));
        let selector = world.tenant("a").selector().clone();
        let dedicated = world.registry.dedicated(&selector).expect("configured");
        dedicated.start_span("span").end();
        let report = world.registry.shutdown(TIMEOUT);
        assert_eq!(counts(&report, "a"), (0, 0, 1), "{mode:?}: {report}");
        assert_eq!(store.all().len(), 0);
    }
}
