//! `spool.mode = "overflow"`: what cannot be sent goes to disk, and nothing else.

use std::time::Duration;

use tracer_registry::config::{Export, Spool, SpoolMode};
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use super::{Disk, end_spans, impatient, names, status, wait_for_ledger, wait_until_delivered, wait_until_spooled};
use crate::support::{key_of, wait_for};

#[test]
fn an_outage_longer_than_the_retry_time_costs_nothing_and_keeps_the_order() {
    let disk = Disk::new(SpoolMode::Overflow, &["a", "b"]);
    let registry = disk.start();
    let mut expected = names("before", 10);
    end_spans(&registry, "a", &expected);
    disk.wait_for_names("a", &expected);
    let fault = disk.collector.fault(Fault::status(503).only(key_of("a")));
    for part in 0..5 {
        let part = names(format!("outage{part}-"), 40);
        end_spans(&registry, "a", &part);
        expected.extend(part);
        // All of it, although the retry time is 200 ms.
        wait_until_spooled(&registry, "a", expected.len() - 10);
    }
    // Others send directly: nothing of them goes to disk.
    end_spans(&registry, "b", &names("other", 3));
    disk.wait_for_names("b", &names("other", 3));
    disk.collector.clear_fault(fault);
    let after = names("recovered", 40);
    end_spans(&registry, "a", &after);
    expected.extend(after);
    disk.wait_for_names("a", &expected);
    let ledger = wait_until_delivered(&registry, "a");
    assert_eq!((ledger.accepted, ledger.recovered), (expected.len() as u64, 0));
}

#[test]
fn a_refused_key_costs_nothing_and_the_next_key_sends_everything() {
    let disk = Disk::new(SpoolMode::Overflow, &["a"]);
    let fault = disk.collector.fault(Fault::reject_key().only(key_of("a")));
    let registry = disk.start();
    let expected = names("span", 20);
    end_spans(&registry, "a", &expected);
    wait_until_spooled(&registry, "a", 20);
    disk.collector.clear_fault(fault);
    disk.wait_for_names("a", &expected);
    wait_until_delivered(&registry, "a");
}

#[test]
fn a_receiver_that_asks_for_a_wait_gets_nothing_before_its_end() {
    let disk = Disk::new(SpoolMode::Overflow, &["a"]);
    let fault = disk
        .collector
        .fault(Fault::status(503).retry_after("3").only(key_of("a")));
    let registry = disk.start();
    let expected = names("span", 5);
    end_spans(&registry, "a", &expected);
    wait_until_spooled(&registry, "a", 5);
    let hits = disk.collector.fault_hits(fault);
    let began = std::time::Instant::now();
    let poll = || (disk.collector.fault_hits(fault) - hits, began.elapsed());
    let (more, elapsed) = wait_for("the next attempt", poll, |(more, _)| *more > 0);
    assert!(more == 1 && elapsed > Duration::from_millis(1_500), "{elapsed:?}");
    disk.collector.clear_fault(fault);
    disk.wait_for_names("a", &expected);
}

#[test]
fn a_tenant_that_fills_its_share_of_the_disk_loses_its_newest_spans_and_others_lose_nothing() {
    let disk = Disk::new(SpoolMode::Overflow, &["full", "other"]);
    let fault = disk.collector.fault(Fault::status(503));
    let export = Export {
        max_queue_size: Some(100),
        ..impatient()
    };
    let spool = Spool {
        tenant_max_bytes: Some(256 << 10),
        ..disk.settings()
    };
    let registry = disk.start_with(|builder| builder.export(export).spool(spool));
    let mut sent = 0;
    let all = names("x".repeat(1_000), 5_000);
    let mut parts = all.chunks(50);
    // Random text, so that it does not compress to nothing.
    wait_for(
        "a full share",
        || {
            if let Some(part) = parts.next() {
                end_random_spans(&registry, "full", part);
                sent += part.len() as u64;
            }
            status(&registry, "full").expect("looked up").spans
        },
        |ledger| ledger.dropped.contains_key(&DropReason::SpoolFull),
    );
    let other = names("other", 30);
    end_spans(&registry, "other", &other);
    wait_until_spooled(&registry, "other", other.len());
    disk.collector.clear_fault(fault);
    disk.wait_for_names("other", &other);
    wait_until_delivered(&registry, "other");
    let is_over = wait_for_ledger(&registry, "full", |ledger| {
        ledger.delivered + ledger.lost() == ledger.accepted
    });
    assert_eq!(is_over.accepted, sent);
    let received = disk.names("full");
    assert!(received.is_sorted(), "what was kept is in order");
    assert_eq!(received.len() as u64, is_over.delivered);
}

/// Ends spans with an attribute that does not compress.
fn end_random_spans(registry: &tracer_registry::TracerRegistry, tenant: &str, names: &[String]) {
    use opentelemetry::KeyValue;
    use opentelemetry::trace::Span as _;
    use rand::Rng as _;

    let tracer = registry.tenant(tenant).expect("configured");
    for name in names {
        let mut span = tracer.start_span(name.clone());
        let text: String = (0..1_000).map(|_| rand::rng().random_range('!'..'~')).collect();
        span.set_attribute(KeyValue::new("random", text));
        span.end();
    }
}
