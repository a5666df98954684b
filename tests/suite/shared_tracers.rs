//! Tracers that many threads use at once: each span arrives exactly once, in its own project.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use tracer_registry::config::{Export, IdleTimeout, Pool};
use tracer_registry::integrations::{RegistrySpan, RoutingTracer};
use tracer_registry::status::Status;
use tracer_registry::{TracerHandle, TracerRegistry};

use crate::support::{LONG, World, quick};

const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
/// More than a lane has queues for threads.
const THREADS: u64 = 10;

/// Numbers that only look random, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn tenant(&mut self) -> usize {
        usize::try_from(self.below(TENANTS.len() as u64)).expect("small")
    }
}

/// Exports with a queue that the tests do not fill.
fn export() -> Export {
    Export {
        max_queue_size: Some(1 << 16),
        ..quick()
    }
}

/// Asserts that all ledgers balance. Returns the accepted, delivered and lost spans of a tenant.
fn counts(status: &Status, tenant: &str) -> [u64; 3] {
    let selector = format!("tenant:{tenant}");
    let mut counts = [0; 3];
    for tracer in &status.tracers {
        let spans = &tracer.spans;
        assert_eq!(
            spans.accepted,
            spans.delivered + spans.pending() + spans.lost(),
            "{spans:?}"
        );
        if tracer.selector.to_string() == selector {
            counts = [spans.accepted, spans.delivered, spans.lost()];
        }
    }
    counts
}

/// Asserts that each project received exactly the delivered spans of its tenant, each once.
fn assert_received_once(world: &World, status: &Status, started: &[AtomicU64]) {
    let mut ids = BTreeSet::new();
    for (tenant, started) in TENANTS.iter().zip(started) {
        let [accepted, delivered, lost] = counts(status, tenant);
        assert_eq!(accepted, started.load(Ordering::SeqCst), "{tenant}");
        assert_eq!(accepted, delivered + lost, "{tenant}");
        let project = world.project(tenant);
        assert_eq!(project.spans().len() as u64, delivered, "{tenant}");
        for span in project.spans() {
            assert_eq!(span.name, *tenant);
            assert!(ids.insert(span.span_id.clone()), "{} twice", span.span_id);
        }
    }
}

/// Uses a tracer in one of several ways. Returns the number of started spans.
fn work(
    registry: &TracerRegistry,
    tenant: &'static str,
    handle: &TracerHandle,
    routed: &RoutingTracer,
    elsewhere: &mpsc::Sender<RegistrySpan>,
    numbers: &mut Numbers,
) -> u64 {
    let count = numbers.below(60);
    match numbers.below(8) {
        0 => (0..count).for_each(|_| handle.start_span(tenant).end()),
        1 => {
            let tracer = handle.tracer("library");
            (0..count).for_each(|_| tracer.start(tenant).end());
        }
        2 => {
            let _entered = handle.enter();
            (0..count).for_each(|_| routed.start(tenant).end());
        }
        3 => {
            for _ in 0..count {
                elsewhere.send(handle.start_span(tenant)).expect("a receiver");
            }
        }
        4 => {
            let open: Vec<RegistrySpan> = (0..count).map(|_| handle.start_span(tenant)).collect();
            thread::spawn(move || drop(open)).join().expect("no panic");
        }
        5 => {
            for _ in 0..count {
                handle.in_span(tenant, |outer| {
                    outer.set_attribute("question", "why?");
                    handle.start_span(tenant).end();
                });
            }
            return 2 * count;
        }
        6 => {
            drop(handle.force_flush(Duration::from_millis(numbers.below(20))));
            return 0;
        }
        _ => {
            if numbers.below(4) == 0 {
                counts(&registry.status(), tenant);
                registry.remove(handle.selector().clone()).expect("a selector");
            }
            return 0;
        }
    }
    count
}

#[test]
fn spans_of_many_threads_arrive_once_while_tracers_are_flushed_removed_and_evicted() {
    let pool = Pool {
        max_tracers: Some(2),
        idle_timeout: Some(IdleTimeout::Never),
        when_full: None,
    };
    let world = World::with(&TENANTS, |builder| builder.export(export()).pool(pool));
    let registry = &world.registry;
    let routed = registry.routing_provider().tracer("driver");
    let started: [AtomicU64; TENANTS.len()] = Default::default();
    thread::scope(|threads| {
        let (elsewhere, others) = mpsc::channel::<RegistrySpan>();
        threads.spawn(move || others.into_iter().for_each(|mut span| span.end()));
        for thread in 1..=THREADS {
            let (routed, started, elsewhere) = (&routed, &started, elsewhere.clone());
            threads.spawn(move || {
                let mut numbers = Numbers::new(thread);
                for job in 0..60 {
                    // All threads use the same tracer for a while, so that they meet.
                    let at = if job % 20 < 10 { job / 20 } else { numbers.tenant() };
                    // The pool may be full.
                    if let Ok(handle) = registry.tenant(TENANTS[at]) {
                        let count = work(registry, TENANTS[at], &handle, routed, &elsewhere, &mut numbers);
                        started[at].fetch_add(count, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    drop(registry.force_flush(LONG));
    let status = registry.status();
    assert_eq!(status.unrouted.spans, 0);
    assert_received_once(&world, &status, &started);
    let report = registry.shutdown(LONG);
    assert!(report.is_complete(), "{report:#?}");
}

#[test]
fn a_shutdown_counts_each_span_of_many_threads_once() {
    for round in 0..10 {
        let world = World::with(&TENANTS, |builder| builder.export(export()));
        let registry = &world.registry;
        let handles = TENANTS.map(|tenant| world.tenant(tenant));
        let started: [AtomicU64; TENANTS.len()] = Default::default();
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            for thread in 1..=THREADS {
                let (handles, started, over) = (&handles, &started, &over);
                threads.spawn(move || {
                    let mut numbers = Numbers::new(thread);
                    while !over.load(Ordering::SeqCst) {
                        // Most threads use the first tracer.
                        let at = numbers.tenant() * usize::from(thread > 7);
                        handles[at].start_span(TENANTS[at]).end();
                        started[at].fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let count = || started.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
            while count() < 500 * round {
                thread::yield_now();
            }
            drop(registry.shutdown(LONG));
            over.store(true, Ordering::SeqCst);
        });
        assert_received_once(&world, &registry.status(), &started);
    }
}
