//! Tracers that end because they are idle: nobody notices, and no span is missing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::config::{Export, IdleTimeout, Pool, Retry, WhenFull};
use tracer_registry::report::Report;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::{DropReason, Status};
use tracer_registry::{Enrichment, LookupError, RegistryBuilder, Selector, TracerRegistry};
use tracer_registry_collector::{CollectorBuilder, Fault, LocalCollector};

use crate::log::Log;
use crate::support::{self, LONG, World, binding, key_of, quick, wait_for};

/// A pool that time alone takes nothing out of.
fn at_most(max_tracers: usize) -> Pool {
    Pool {
        max_tracers: Some(max_tracers),
        idle_timeout: Some(IdleTimeout::Never),
        when_full: None,
    }
}

/// Any tenant, all with one key, so that one project has all that arrives. Requests are not kept.
fn one_project(adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    let fingerprinter = Fingerprinter::new();
    let collector: CollectorBuilder = LocalCollector::builder()
        .fingerprints({
            let fingerprinter = fingerprinter.clone();
            move |key| fingerprinter.fingerprint(key).into()
        })
        .project("all", key_of("all"));
    let collector = collector.start().expect("a free port");
    let builder = support::registry(&collector.url(), &[], &fingerprinter).tenant("*", binding("all"));
    let registry = adapt(builder).build().expect("valid");
    World { registry, collector }
}

/// Looks a tenant up; where there is no room, again: what is unsent keeps its place. Without that, see
/// [`where_others_are_idle_no_look_up_is_refused`].
fn tenant(registry: &TracerRegistry, name: &str) -> tracer_registry::TracerHandle {
    let full = |found: &Result<_, _>| !matches!(found, Err(LookupError::PoolFull { .. }));
    let found = wait_for("room", || registry.tenant(name), full);
    found.expect("configured")
}

/// What was accepted, delivered and lost, of all names together, and whether the sum is right.
fn sums(status: &Status) -> [u64; 3] {
    let ledgers = status.tracers.iter().map(|tracer| &tracer.spans);
    let mut sums = [0; 3];
    for ledger in ledgers.chain([&status.evicted_totals.spans]) {
        let sum = ledger.delivered + ledger.pending() + ledger.lost();
        assert_eq!(ledger.accepted, sum, "{ledger:?}");
        sums[0] += ledger.accepted;
        sums[1] += ledger.delivered;
        sums[2] += ledger.lost();
    }
    sums
}

fn delivered(report: &Report) -> u64 {
    let of_tracers: u64 = report.tracers.iter().map(|tracer| tracer.delivered).sum();
    of_tracers + report.evicted_totals.delivered
}

#[test]
fn an_idle_tracer_ends_and_its_name_comes_back_with_a_new_one_and_the_same_books() {
    let world = World::with(&["a", "b"], |builder| {
        builder.pool(Pool {
            idle_timeout: Some(IdleTimeout::After(Duration::from_millis(40))),
            ..Pool::default()
        })
    });
    let held = world.tenant("b");
    for round in 1..=3 {
        let tracer = world.tenant("a");
        tracer.in_span(format!("round {round}"), |_| ());
        drop(tracer);
        let ended = |evicted: &u64| *evicted == round;
        wait_for("an eviction", || world.registry.status().pool.evicted, ended);
        let status = world.status("a");
        assert_eq!(
            (status.tracers, status.spans.accepted, status.spans.delivered),
            (0, round, round)
        );
    }
    assert_eq!(world.names("a"), ["round 1", "round 2", "round 3"]);
    assert!(world.tenant("b").same_tracer(&held), "it was in use all the time");
    let report = world.registry.force_flush(LONG);
    assert!(report.is_complete() && delivered(&report) == 3, "{report:#?}");
}

#[test]
fn threads_that_look_up_while_tracers_are_evicted_never_get_a_dead_one() {
    const THREADS: u32 = 8;
    const SPANS: u32 = 150;
    for when_full in [WhenFull::Reject, WhenFull::Grow] {
        let world = one_project(|builder| {
            builder.pool(Pool {
                max_tracers: Some(12),
                idle_timeout: Some(IdleTimeout::After(Duration::from_millis(3))),
                when_full: Some(when_full),
            })
        });
        let begin = Barrier::new(8);
        thread::scope(|threads| {
            for thread in 0..THREADS {
                let (registry, begin) = (&world.registry, &begin);
                threads.spawn(move || {
                    begin.wait();
                    for n in 0..SPANS {
                        // Names of their own, and names that others ask for at the same time.
                        let name = if n % 2 == 0 {
                            format!("own-{thread}-{}", n % 16)
                        } else {
                            format!("all-{}", n % 7)
                        };
                        let tracer = tenant(registry, &name);
                        tracer.in_span(format!("{thread}/{n}"), |_| ());
                    }
                });
            }
        });
        let report = world.registry.force_flush(LONG);
        assert!(report.is_complete(), "{report:#?}");
        let all = u64::from(THREADS * SPANS);
        assert_eq!(delivered(&report), all);
        let status = world.registry.status();
        assert_eq!(sums(&status), [all, all, 0]);
        assert!(status.pool.evicted > 0, "{:?}", status.pool);
        let mut names = world.names("all");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len() as u64, all, "each span once");
        assert_eq!(world.project("all").spans().len() as u64, all, "and none twice");
        if when_full == WhenFull::Reject {
            assert!(status.pool.tracers <= 12, "{:?}", status.pool);
        }
    }
}

#[test]
fn where_others_are_idle_no_look_up_is_refused() {
    // Nothing is unsent, and at most eight are in use or being made.
    let world = one_project(|builder| builder.pool(at_most(32)));
    thread::scope(|threads| {
        for thread in 0..8 {
            let registry = &world.registry;
            threads.spawn(move || {
                for n in 0..200 {
                    let begun = Instant::now();
                    let found = registry.tenant(&format!("{thread}-{n}"));
                    // Where the engine's threads get no time, it is waited no longer than that.
                    let waited = begun.elapsed() >= Duration::from_millis(250);
                    assert!(found.is_ok() || waited, "{found:?} after {:?}", begun.elapsed());
                }
            });
        }
    });
    assert!(world.registry.status().pool.evicted > 32);
}

#[test]
fn the_books_of_many_names_stay_small_and_their_sums_exact() {
    const NAMES: u64 = 2_500;
    let world = one_project(|builder| {
        builder
            .feature("f", tracer_registry::config::Binding::new())
            .pool(at_most(50))
    });
    let mut told = 0;
    for n in 0..NAMES {
        if n % 5 == 0 {
            // Dedicated tracers have books as well.
            let selector = Selector::tenant(&format!("t{n}")).feature("f");
            let tracer = world.registry.dedicated(selector).expect("configured");
            tracer.in_span("span", |_| ());
        } else {
            tenant(&world.registry, &format!("t{n}")).in_span("span", |_| ());
        }
        if n == NAMES / 2 {
            let report = world.registry.force_flush(LONG);
            assert!(report.is_complete(), "{report}");
            told += delivered(&report);
            assert_eq!(told, n + 1);
        }
        if n % 250 == 0 {
            assert_eq!(sums(&world.registry.status())[0], n + 1);
        }
    }
    let report = world.registry.force_flush(LONG);
    assert!(report.is_complete() && report.evicted_totals.delivered > 0, "{report}");
    assert_eq!(told + delivered(&report), NAMES, "each was told once");
    let status = world.registry.status();
    assert_eq!(sums(&status), [NAMES, NAMES, 0]);
    let few = |status: &Status| status.tracers.len() <= 1_100;
    let status = wait_for("names to be forgotten", || world.registry.status(), few);
    assert!(
        status.evicted_totals.names >= NAMES - 1_100 && status.pool.tracers <= 50,
        "{:?}",
        status.pool
    );
    assert_eq!(sums(&status), [NAMES, NAMES, 0]);
    assert_eq!(world.project("all").spans().len() as u64, NAMES);
    // A name that comes back begins new books; nothing is told twice.
    tenant(&world.registry, "t1").in_span("span", |_| ());
    assert_eq!(delivered(&world.registry.force_flush(LONG)), 1);
    assert_eq!(sums(&world.registry.status()), [NAMES + 1, NAMES + 1, 0]);
}

#[test]
fn names_with_losses_that_were_not_told_are_remembered_longer() {
    let world = one_project(|builder| builder.pool(at_most(20)));
    world
        .collector
        .fault(Fault::status(400).when_body_contains("bad").times(1));
    tenant(&world.registry, "unlucky").in_span("bad", |_| ());
    let lost = |sums: &[u64; 3]| sums[2] == 1;
    wait_for("a loss", || sums(&world.registry.status()), lost);
    for n in 0..1_100 {
        tenant(&world.registry, &format!("t{n}")).in_span("good", |_| ());
    }
    let forgotten = |status: &Status| status.evicted_totals.names > 50;
    wait_for("names to be forgotten", || world.registry.status(), forgotten);
    let status = world.status("unlucky");
    assert_eq!((status.tracers, status.spans.dropped[&DropReason::Refused]), (0, 1));
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.lost(), 1);
    assert!(
        report
            .to_string()
            .contains("tenant:unlucky: 0 spans delivered, 1 dropped"),
        "{report}"
    );
    assert!(report.to_string().contains("names no longer remembered: "), "{report}");
}

#[test]
fn a_receiver_that_hangs_keeps_its_tracers_no_longer_than_requests_are_repeated() {
    let world = World::with(&["a", "b", "hangs"], |builder| {
        let export = Export {
            // Time enough to look one up before, and to be answered after.
            timeout: Some(Duration::from_millis(500)),
            retry: Retry {
                max_elapsed: Some(Duration::from_secs(2)),
                ..quick().retry
            },
            ..quick()
        };
        builder.export(export).pool(at_most(1))
    });
    world.collector.fault(Fault::hang().only(key_of("hangs")));
    world.tenant("hangs").in_span("lost", |_| ());
    let full = world.registry.tenant("a").expect_err("it is not sent yet");
    assert!(matches!(full, LookupError::PoolFull { .. }), "{full:?}");
    tenant(&world.registry, "a").in_span("span", |_| ());
    let status = world.status("hangs");
    assert_eq!((status.tracers, status.spans.accepted), (0, 1));
    assert_eq!(status.spans.dropped[&DropReason::RetriesExhausted], 1, "{status:?}");
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.lost(), report.pending(), delivered(&report)), (1, 0, 1));
}

#[test]
fn what_is_removed_goes_on_in_its_handles_and_the_next_look_up_makes_a_new_one() {
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let world = World::with(&["a"], |builder| {
        builder.pool(at_most(1)).secret_source("test", move |name: &str| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(SecretString::from(key_of(name)))
        })
    });
    let registry = &world.registry;
    assert!(!registry.remove(Selector::tenant("a")).expect("a selector"));
    assert!(registry.remove(Selector::tenant("..")).is_err());
    let old = world.tenant("a");
    let session = old.session("chat").start();
    let mut open = old.start_span("open");
    drop(old);
    assert!(registry.remove(Selector::tenant("a")).expect("a selector"));
    assert_eq!(registry.status().pool.tracers, 0, "its place is free");
    let new = world.tenant("a");
    assert!(!new.same_tracer(session.tracer()));
    assert_eq!(reads.load(Ordering::Relaxed), 2, "the key is read anew");
    assert_eq!(world.status("a").tracers, 2);
    {
        let _in_session = session.enter();
        session.tracer().in_span("in the session", |_| ());
        new.in_span("of the new one", |_| ());
    }
    session.enrich(Enrichment::new().metadata("later", 1));
    open.end();
    drop((session, open));
    let gone = |tracers: &usize| *tracers == 1;
    wait_for("the old one to end", || world.status("a").tracers, gone);
    world.flush();
    let project = world.project("a");
    let sessions = project.sessions();
    assert_eq!(sessions.len(), 1);
    let in_session: Vec<String> = project
        .spans_of_session(&sessions[0].id)
        .iter()
        .map(|span| span.name.clone())
        .collect();
    assert_eq!(in_session, ["in the session"]);
    assert_eq!(sessions[0].metadata["later"], 1);
    let mut names = world.names("a");
    names.sort_unstable();
    assert_eq!(names, ["in the session", "of the new one", "open"]);
    let spans = world.status("a").spans;
    assert_eq!((spans.accepted, spans.delivered), (3, 3));
}

#[test]
fn a_pool_that_may_grow_does_so_and_tells_it_once() {
    let world = one_project(|builder| {
        builder.pool(Pool {
            when_full: Some(WhenFull::Grow),
            ..at_most(2)
        })
    });
    let log = Log::default();
    let held = tracing::subscriber::with_default(log.clone(), || ["a", "b", "c", "d"].map(|name| world.tenant(name)));
    let mut lines = log.lines();
    // They share a project on purpose.
    lines.retain(|line| !line.contains("two selectors send to one project"));
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(
        line.contains("max_tracers=2") && line.contains("above pool.max_tracers"),
        "{line}"
    );
    for tracer in &held {
        tracer.in_span("span", |_| ());
    }
    world.flush();
    assert_eq!(sums(&world.registry.status()), [4, 4, 0]);
    let pool = world.registry.status().pool;
    assert_eq!((pool.tracers, pool.grown, pool.rejected, pool.evicted), (4, 2, 0, 0));
    drop(held);
    world.tenant("e");
    // It did not wait for one of the others to go; the pool is looked through afterwards.
    let pool = || world.registry.status().pool;
    assert_eq!(pool().grown, 3);
    wait_for("the idle ones to go", pool, |pool| pool.tracers <= 2);
}

#[test]
fn dedicated_tracers_take_no_place_in_the_pool() {
    let world = World::with(&["a"], |builder| builder.pool(at_most(1)));
    let one = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    let two = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    let pooled = world.tenant("a");
    let status = world.registry.status();
    assert_eq!((status.pool.tracers, status.pool.max_tracers), (1, 1));
    assert_eq!(status.tracers[0].tracers, 3);
    drop((one, two, pooled));
}
