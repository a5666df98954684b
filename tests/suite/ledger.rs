//! Ledgers: every accepted span is delivered, queued, in flight or dropped, and the receiver has
//! the same counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracer_registry::Enrichment;
use tracer_registry::config::Export;
use tracer_registry::status::{LedgerSnapshot, TracerStatus};
use tracer_registry_collector::{Fault, LocalCollector, SessionOrigin};

use crate::support::{LONG, World, key_of, quick};

const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
const SPANS: u64 = 600;
/// Per session; several may share a request.
const ENRICHMENTS: u64 = 4;

/// Returns a random fault after which the collector stores exactly the spans reported as delivered.
fn fault(random: &mut StdRng) -> Fault {
    let tenant = TENANTS[random.random_range(0..TENANTS.len())];
    let fault = match random.random_range(0..9) {
        0 => Fault::reset(),
        1 => Fault::truncate(),
        2 => Fault::partial_success(random.random_range(1..4)),
        3 => Fault::status(429).retry_after("0"),
        4 => Fault::status(401),
        5 => Fault::status([400, 413][random.random_range(0..2)]),
        6 => Fault::delay(std::time::Duration::from_millis(random.random_range(1..20))),
        _ => Fault::status(random.random_range(500..505)),
    };
    fault.times(1).only(key_of(tenant))
}

fn assert_balanced(ledger: &LedgerSnapshot, context: &TracerStatus) {
    let sum = ledger.delivered + ledger.queued + ledger.in_flight + ledger.spooled + ledger.lost();
    assert_eq!(ledger.accepted, sum, "{context:#?}");
}

#[test]
fn ledgers_balance_at_every_moment_and_match_the_receiver_at_the_end() {
    for seed in [1, 2, 3] {
        let export = Export {
            max_queue_size: Some(100),
            max_export_batch_size: Some(16),
            ..quick()
        };
        let world = World::with(&TENANTS, |builder| builder.export(export));
        // Per tenant: the number of spans about to end, and of spans that have ended.
        let (started, ended) = (
            [const { AtomicU64::new(0) }; TENANTS.len()],
            [const { AtomicU64::new(0) }; TENANTS.len()],
        );
        let done = AtomicBool::new(false);
        thread::scope(|threads| {
            let watcher = threads.spawn(|| watch(&world, &started, &ended, &done));
            let mut producers = Vec::new();
            for (index, tenant) in TENANTS.into_iter().enumerate() {
                for _ in 0..2 {
                    let (world, started, ended) = (&world, &started[index], &ended[index]);
                    producers.push(threads.spawn(move || produce(world, tenant, started, ended)));
                }
            }
            let mut random = StdRng::seed_from_u64(seed);
            while producers.iter().any(|producer| !producer.is_finished()) {
                world.collector.fault(fault(&mut random));
                thread::yield_now();
                drop(
                    world
                        .registry
                        .force_flush(std::time::Duration::from_millis(random.random_range(0..5))),
                );
            }
            for producer in producers {
                producer.join().expect("no panic");
            }
            world.collector.clear_faults();
            drop(world.registry.force_flush(LONG));
            done.store(true, Ordering::SeqCst);
            assert!(
                watcher.join().expect("no panic") > 10,
                "the watcher read the status too rarely"
            );
        });
        for tenant in TENANTS {
            assert_matches_receiver(&world.collector, tenant, &world.status(tenant));
        }
    }
}

fn produce(world: &World, tenant: &str, started: &AtomicU64, ended: &AtomicU64) {
    let tracer = world.tenant(tenant);
    for n in 0..SPANS {
        if n % 50 == 0 {
            let session = tracer.session("s").start();
            for e in 0..ENRICHMENTS {
                session.enrich(Enrichment::new().metadata(format!("e{e}"), n));
            }
        }
        let span = tracer.start_span("span");
        started.fetch_add(1, Ordering::SeqCst);
        drop(span);
        ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Checks the ledgers until `done` is set. Returns the number of checks.
fn watch(world: &World, started: &[AtomicU64], ended: &[AtomicU64], done: &AtomicBool) -> u64 {
    let mut checks = 0;
    while !done.load(Ordering::SeqCst) {
        let before: Vec<u64> = ended.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        let status = world.registry.status();
        let after: Vec<u64> = started.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        for tracer in &status.tracers {
            assert_balanced(&tracer.spans, tracer);
            assert_balanced(&tracer.session_events, tracer);
            let index = TENANTS
                .iter()
                .position(|tenant| tracer.selector.to_string().ends_with(tenant))
                .expect("one of them");
            let accepted = tracer.spans.accepted;
            assert!(
                (before[index]..=after[index]).contains(&accepted),
                "{} {tracer:#?} {}",
                before[index],
                after[index]
            );
        }
        checks += 1;
        thread::yield_now();
    }
    checks
}

fn assert_matches_receiver(collector: &LocalCollector, tenant: &str, status: &TracerStatus) {
    let project = collector.project(tenant).expect("named");
    let spans = &status.spans;
    assert_eq!((spans.queued, spans.in_flight), (0, 0), "{status:#?}");
    assert_eq!(spans.accepted, 2 * SPANS, "{status:#?}");
    assert_eq!(spans.delivered, project.spans().len() as u64, "{status:#?}");
    let rejected = spans
        .dropped
        .get(&tracer_registry::status::DropReason::Rejected)
        .copied()
        .unwrap_or(0);
    assert_eq!(rejected, project.summary().rejected_spans, "{status:#?}");
    // Each enrichment has its own metadata key, so requests that merge several are counted right.
    let sessions = project.sessions().iter();
    let stored: usize = sessions
        .map(|session| usize::from(session.origin == SessionOrigin::Started) + session.metadata.len())
        .sum();
    let events = &status.session_events;
    assert_eq!(
        (events.pending(), events.accepted),
        (0, 2 * (1 + ENRICHMENTS) * SPANS.div_ceil(50)),
        "{status:#?}"
    );
    assert_eq!(events.delivered, stored as u64, "{status:#?}");
}
