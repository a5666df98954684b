//! Bounded pool with `export.mode = "inline"`: only look-ups and flushes sweep it.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use tracer_registry::LookupError;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::report::Report;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::Status;
use tracer_registry_collector::{Fault, LocalCollector};

use crate::support::{self, AT_ONCE, LONG, World, binding, key_of, quick};

/// Accepts any tenant name. All tenants share one key and so one project.
fn world(max_tracers: usize) -> World {
    let fingerprinter = Fingerprinter::new();
    let collector = LocalCollector::builder()
        .fingerprints({
            let fingerprinter = fingerprinter.clone();
            move |key| fingerprinter.fingerprint(key).into()
        })
        .record_requests(1 << 20)
        .project("all", key_of("all"))
        .start()
        .expect("a free port");
    let registry = support::registry(&collector.url(), &[], &fingerprinter)
        .tenant("*", binding("all"))
        .pool(Pool {
            max_tracers: Some(max_tracers),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
        .export(Export {
            mode: Some(ExportMode::Inline),
            ..quick()
        });
    World {
        registry: registry.build().expect("valid"),
        collector,
    }
}

/// Returns the accepted, delivered and lost spans of all tracers.
fn totals(status: &Status) -> [u64; 3] {
    let ledgers = status.tracers.iter().map(|tracer| &tracer.spans);
    ledgers
        .chain([&status.evicted_totals.spans])
        .fold([0; 3], |[accepted, delivered, lost], ledger| {
            [
                accepted + ledger.accepted,
                delivered + ledger.delivered,
                lost + ledger.lost(),
            ]
        })
}

fn delivered(report: &Report) -> u64 {
    let of_tracers: u64 = report.tracers.iter().map(|tracer| tracer.delivered).sum();
    of_tracers + report.evicted_totals.delivered
}

#[test]
fn idle_tracers_are_evicted_at_once_and_tracers_with_spans_after_a_flush() {
    let world = world(2);
    let registry = &world.registry;
    let begun = Instant::now();
    for n in 0..40 {
        drop(
            registry
                .tenant(&format!("idle-{n}"))
                .expect("an idle tracer is evicted"),
        );
    }
    for name in ["a", "b"] {
        registry
            .tenant(name)
            .expect("an idle tracer is evicted")
            .in_span("span", |_| ());
    }
    // With background threads, each of these look-ups would wait 250 ms.
    for n in 0..200 {
        let error = registry.tenant(&format!("t{n}")).expect_err("none is idle");
        assert!(
            matches!(error, LookupError::PoolFull { max_tracers: 2, .. }),
            "{error:?}"
        );
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let status = registry.status();
    assert_eq!(
        (status.pool.tracers, status.pool.evicted, status.pool.rejected),
        (2, 40, 200)
    );
    assert_eq!(totals(&status), [2, 0, 0], "a look-up sends nothing");
    assert!(world.collector.requests().is_empty());
    // The flush of one tracer sends only its spans and makes only it evictable.
    let report = registry.tenant("a").expect("in the pool").force_flush(LONG);
    assert_eq!((report.delivered, report.is_complete()), (1, true), "{report}");
    let c = registry.tenant("c").expect("a is idle");
    assert!(registry.tenant("d").is_err(), "b is not idle");
    let report = registry.force_flush(LONG);
    assert_eq!(
        (delivered(&report), report.is_complete()),
        (1, true),
        "b's span is reported: {report}"
    );
    drop(registry.tenant("d").expect("b is idle"));
    assert!(c.same_tracer(&registry.tenant("c").expect("in use")));
}

#[test]
fn ledgers_are_bounded_between_flushes_and_each_span_is_reported_once() {
    const NAMES: u64 = 2_500;
    let world = world(50);
    world.collector.fault(Fault::status(400).when_body_contains("refused"));
    let (mut reported, mut lost) = (0, 0);
    // Nothing is sent, so only look-ups can evict.
    for n in 0..1_500 {
        drop(world.registry.tenant(&format!("silent-{n}")).expect("free capacity"));
    }
    let mut most = world.registry.status().tracers.len();
    for n in 0..NAMES {
        let tracer = world.registry.tenant(&format!("t{n}")).expect("free capacity");
        if n % 25 == 0 {
            let name = if n % 50 == 0 { "accepted" } else { "refused" };
            tracer.in_span(name, |_| ());
            let report = tracer.force_flush(LONG);
            reported += report.delivered;
            lost += report.lost();
        } else if n % 26 == 0 {
            world
                .registry
                .dedicated(tracer.selector())
                .expect("not limited by the pool");
        }
        if n % 50 == 49 {
            most = most.max(world.registry.status().tracers.len());
        }
    }
    assert_eq!((reported, lost), (50, 50));
    // Limit of kept ledgers, pooled tracers, and a margin for the sweep.
    assert!(most <= 1_100, "{most}");
    let status = world.registry.status();
    assert!(
        status.evicted_totals.names >= NAMES - 1_100,
        "{:?}",
        status.evicted_totals
    );
    assert_eq!(totals(&status), [100, 50, 50]);
    let report = world.registry.force_flush(LONG);
    assert!(
        report.is_complete() && delivered(&report) == 0,
        "everything was already reported: {report}"
    );
    assert_eq!(world.project("all").spans().len(), 50);
}

#[test]
fn concurrent_look_ups_and_flushes_lose_no_span() {
    const THREADS: u64 = 4;
    const SPANS: u64 = 100;
    let world = world(6);
    let start = Barrier::new(4);
    thread::scope(|threads| {
        for thread in 0..THREADS {
            let (registry, start) = (&world.registry, &start);
            threads.spawn(move || {
                start.wait();
                for n in 0..SPANS {
                    let name = format!("t{}", (thread + n) % 20);
                    let tracer = loop {
                        match registry.tenant(&name) {
                            Ok(tracer) => break tracer,
                            Err(LookupError::PoolFull { .. }) => {
                                let report = registry.force_flush(LONG);
                                assert!(report.is_complete(), "{report}");
                            }
                            Err(error) => panic!("{error}"),
                        }
                    };
                    tracer.in_span(format!("{thread}-{n}"), |_| ());
                }
            });
        }
    });
    let report = world.registry.shutdown(LONG);
    assert!(report.is_complete(), "{report}");
    let status = world.registry.status();
    let all = THREADS * SPANS;
    assert_eq!(totals(&status), [all, all, 0]);
    assert!(status.pool.evicted > 0 && status.pool.tracers <= 6, "{:?}", status.pool);
    let mut names = world.names("all");
    assert_eq!(names.len() as u64, all, "no span was delivered twice");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len() as u64, all, "every span was delivered");
}
