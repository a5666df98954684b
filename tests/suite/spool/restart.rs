//! What one registry leaves on disk, the next one on the same folder sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_registry::RegistryBuilder;
use tracer_registry::config::{Export, Spool, SpoolMode};
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;
use tracer_registry_spool::test::TestStore;

use super::{Disk, end_spans, impatient, names, status, wait_for_ledger, wait_until_delivered, wait_until_spooled};
use crate::explain::{explaining, fate};
use crate::support::{AT_ONCE, LONG, key_of, wait_for};

/// Enough to leave everything on disk.
const SHUTDOWN: Duration = Duration::from_secs(4);

#[test]
fn what_a_shutdown_leaves_on_disk_is_sent_by_the_next_registry_in_order() {
    for mode in [SpoolMode::Through, SpoolMode::Overflow] {
        let disk = Disk::new(mode, &["a", "b"]);
        let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
        let expected = names("span", 300);
        let first = disk.start();
        end_spans(&first, "a", &expected);
        end_spans(&first, "b", &names("other", 1));
        let report = first.shutdown(SHUTDOWN);
        assert!(report.is_complete(), "{mode:?}: {report:#?}");
        let spooled: u64 = report.tracers.iter().map(|tracer| tracer.spooled).sum();
        assert_eq!((report.lost(), spooled), (0, 300), "{report:#?}");
        drop(first);
        assert_eq!((disk.names("a").len(), disk.names("b").len()), (0, 1));

        disk.collector.clear_fault(fault);
        let second = disk.start();
        // No program looks the tenant up.
        disk.wait_for_names("a", &expected);
        let ledger = wait_until_delivered(&second, "a");
        assert_eq!((ledger.accepted, ledger.recovered), (300, 300));
        assert!(status(&second, "b").is_none(), "nothing of it was on disk");
        drop(second);
        assert_eq!(disk.names("a").len(), 300, "sent once");
        let third = disk.start();
        assert!(status(&third, "a").is_none(), "nothing is left");
    }
}

#[test]
fn each_tenant_gets_what_it_left_and_nothing_of_another() {
    let tenants = ["a", "b", "c"];
    let disk = Disk::new(SpoolMode::Through, &tenants);
    let fault = disk.collector.fault(Fault::status(503));
    let first = disk.start();
    for tenant in tenants {
        end_spans(&first, tenant, &names(tenant, 50));
    }
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);
    disk.collector.clear_fault(fault);
    let second = disk.start();
    for tenant in tenants {
        disk.wait_for_names(tenant, &names(tenant, 50));
        wait_until_delivered(&second, tenant);
    }
}

#[test]
fn spans_after_a_restart_follow_what_is_on_disk_and_other_tenants_do_not_wait() {
    let disk = Disk::new(SpoolMode::Overflow, &["a", "b"]);
    let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
    let (before, after) = (names("before", 50), names("later", 50));
    let first = disk.start();
    end_spans(&first, "a", &before);
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);

    let second = disk.start();
    end_spans(&second, "a", &after);
    end_spans(&second, "b", &names("other", 1));
    disk.wait_for_names("b", &names("other", 1));
    wait_until_spooled(&second, "a", 100);
    disk.collector.clear_fault(fault);
    disk.wait_for_names("a", &[before, after].concat());
    let ledger = wait_until_delivered(&second, "a");
    assert_eq!((ledger.accepted, ledger.recovered), (100, 50));
}

#[test]
fn a_backlog_much_larger_than_the_memory_of_a_lane_arrives_in_order() {
    let disk = Disk::new(SpoolMode::Through, &["a"]);
    let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
    let first = disk.start();
    let expected: Vec<String> = names("x".repeat(2_000), 3_000);
    for part in expected.chunks(500) {
        end_spans(&first, "a", part);
        // Within the bounds of the queue.
        wait_for_ledger(&first, "a", |ledger| ledger.queued < 500);
    }
    wait_until_spooled(&first, "a", expected.len());
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);
    disk.collector.clear_fault(fault);
    let second = disk.start();
    let mut most = 0;
    let poll = || {
        let status = status(&second, "a");
        most = most.max(status.as_ref().map_or(0, |status| status.queued_bytes));
        status.map(|status| status.spans.delivered)
    };
    wait_for("all spans", poll, |delivered| *delivered == Some(3_000));
    assert_eq!(disk.names("a"), expected);
    assert!(most < 4 << 20, "{most} bytes in memory");
}

#[test]
fn what_was_saved_with_a_larger_limit_of_memory_is_sent() {
    let disk = Disk::new(SpoolMode::Through, &["a"]);
    let fault = disk.collector.fault(Fault::status(503));
    let first = disk.start();
    let expected = [names("small", 2), names("x".repeat(700_000), 2), names("last", 2)].concat();
    for name in &expected {
        end_spans(&first, "a", std::slice::from_ref(name));
    }
    wait_until_spooled(&first, "a", expected.len());
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);
    disk.collector.clear_fault(fault);
    let second = disk.start_with(|builder| {
        builder.export(Export {
            max_queue_bytes: Some(1 << 20),
            ..impatient()
        })
    });
    disk.wait_for_names("a", &expected);
    wait_until_delivered(&second, "a");
}

#[test]
fn the_fate_of_spans_of_an_earlier_process_adds_up() {
    let disk = Disk::new(SpoolMode::Through, &["a"]);
    let fault = disk.collector.fault(Fault::status(503));
    let first = disk.start();
    let trace = first.tenant("a").expect("configured").in_span("span", |span| {
        use opentelemetry::trace::TraceContextExt as _;
        span.context().span().span_context().trace_id()
    });
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);
    disk.collector.clear_fault(fault);
    let second = disk.start_with(|builder| builder.export(explaining(impatient())));
    wait_until_delivered(&second, "a");
    let fate = fate(&second, trace);
    assert_eq!((fate.accepted, fate.delivered, fate.pending), (1, 1, 0));
}

#[test]
fn a_damaged_or_expired_row_is_dropped_and_counted_and_the_others_arrive() {
    let disk = Disk::new(SpoolMode::Through, &["a"]);
    let store = Arc::new(TestStore::new());
    let start = || {
        let store = Arc::clone(&store);
        let given = move |builder: RegistryBuilder| {
            let builder = builder.spool(Spool::default());
            builder.store(SpoolMode::Through, move |report| Ok(store.open(&report)))
        };
        disk.start_with(given)
    };
    let fault = disk.collector.fault(Fault::status(503));
    let first = start();
    let all = names("span", 5);
    for (number, name) in all.iter().enumerate() {
        end_spans(&first, "a", std::slice::from_ref(name));
        wait_until_spooled(&first, "a", number + 1);
    }
    assert!(first.shutdown(SHUTDOWN).is_complete());
    drop(first);
    let mut number = 0;
    store.edit("tenant:a", |row| {
        match number {
            1 => row.body = row.body.slice(..row.body.len() / 2),
            2 => row.created = 0,
            _ => {}
        }
        number += 1;
    });
    assert_eq!(number, 5, "one row each");

    disk.collector.clear_fault(fault);
    let second = start();
    disk.wait_for_names("a", &[0, 3, 4].map(|at: usize| all[at].clone()));
    let ledger = wait_for_ledger(&second, "a", |ledger| ledger.delivered == 3);
    let dropped = [(DropReason::SpoolExpired, 1), (DropReason::SpoolDamaged, 1)];
    assert_eq!((ledger.recovered, ledger.dropped), (5, dropped.into()));
    assert!(store.wait_for_rows(0), "{:?}", store.all());
}

#[test]
fn a_paused_selector_saves_its_data_and_sends_it_when_it_is_resumed() {
    let disk = Disk::new(SpoolMode::Through, &["a", "b"]);
    let registry = disk.start();
    let (selector, expected) = (crate::reload::selector("tenant:a"), names("span", 5));
    registry.pause(&selector).expect("configured");
    end_spans(&registry, "a", &expected);
    wait_until_spooled(&registry, "a", 5);
    // What another tenant starts after that arrives, and nothing of the paused one.
    end_spans(&registry, "b", &names("other", 1));
    disk.wait_for_names("b", &names("other", 1));
    let begun = Instant::now();
    let report = registry.force_flush(LONG);
    assert!(report.is_complete() && begun.elapsed() < AT_ONCE, "{report:#?}");
    assert!(disk.names("a").is_empty());
    assert!(registry.resume(&selector).expect("a selector"));
    disk.wait_for_names("a", &expected);
    assert!(begun.elapsed() < AT_ONCE, "at once: {:?}", begun.elapsed());
    wait_until_delivered(&registry, "a");
}
