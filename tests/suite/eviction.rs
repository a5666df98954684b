//! Eviction of idle tracers, without lost spans or failed look-ups.

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

/// Pool with a size limit and no idle timeout.
fn at_most(max_tracers: usize) -> Pool {
    Pool {
        max_tracers: Some(max_tracers),
        idle_timeout: Some(IdleTimeout::Never),
        when_full: None,
    }
}

/// Accepts any tenant name. All tenants share one key and so one project. Records no requests.
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

/// Looks up a tenant. Repeats if the pool is full, because tracers with unsent data are not
/// evicted.
fn tenant(registry: &TracerRegistry, name: &str) -> tracer_registry::TracerHandle {
    let not_full = |found: &Result<_, _>| !matches!(found, Err(LookupError::PoolFull { .. }));
    let found = wait_for("capacity in the pool", || registry.tenant(name), not_full);
    found.expect("configured")
}

/// Returns the accepted, delivered and lost spans of all tracers. Asserts that each ledger
/// balances.
fn totals(status: &Status) -> [u64; 3] {
    let ledgers = status.tracers.iter().map(|tracer| &tracer.spans);
    let mut totals = [0; 3];
    for ledger in ledgers.chain([&status.evicted_totals.spans]) {
        let sum = ledger.delivered + ledger.pending() + ledger.lost();
        assert_eq!(ledger.accepted, sum, "{ledger:?}");
        totals[0] += ledger.accepted;
        totals[1] += ledger.delivered;
        totals[2] += ledger.lost();
    }
    totals
}

fn delivered(report: &Report) -> u64 {
    let of_tracers: u64 = report.tracers.iter().map(|tracer| tracer.delivered).sum();
    of_tracers + report.evicted_totals.delivered
}

#[test]
fn an_idle_tracer_is_evicted_and_its_successor_continues_the_ledger() {
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
    assert!(
        world.tenant("b").same_tracer(&held),
        "a tracer with a handle is not evicted"
    );
    let report = world.registry.force_flush(LONG);
    assert!(report.is_complete() && delivered(&report) == 3, "{report:#?}");
}

#[test]
fn look_ups_during_eviction_never_return_an_evicted_tracer() {
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
        let start = Barrier::new(8);
        thread::scope(|threads| {
            for thread in 0..THREADS {
                let (registry, start) = (&world.registry, &start);
                threads.spawn(move || {
                    start.wait();
                    for n in 0..SPANS {
                        // Alternates between names of this thread and names shared by all threads.
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
        assert_eq!(totals(&status), [all, all, 0]);
        assert!(status.pool.evicted > 0, "{:?}", status.pool);
        let mut names = world.names("all");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len() as u64, all, "every span was delivered");
        assert_eq!(
            world.project("all").spans().len() as u64,
            all,
            "no span was delivered twice"
        );
        if when_full == WhenFull::Reject {
            assert!(status.pool.tracers <= 12, "{:?}", status.pool);
        }
    }
}

#[test]
fn no_look_up_fails_while_other_tracers_are_idle() {
    // No tracer has unsent data. At most eight are in use or being created.
    let world = one_project(|builder| builder.pool(at_most(32)));
    thread::scope(|threads| {
        for thread in 0..8 {
            let registry = &world.registry;
            threads.spawn(move || {
                for n in 0..200 {
                    let begun = Instant::now();
                    let found = registry.tenant(&format!("{thread}-{n}"));
                    // The look-up waits at most 250 ms for the engine's threads.
                    let waited = begun.elapsed() >= Duration::from_millis(250);
                    assert!(found.is_ok() || waited, "{found:?} after {:?}", begun.elapsed());
                }
            });
        }
    });
    assert!(world.registry.status().pool.evicted > 32);
}

#[test]
fn ledgers_of_many_names_are_bounded_and_their_totals_exact() {
    const NAMES: u64 = 2_500;
    let world = one_project(|builder| {
        builder
            .feature("f", tracer_registry::config::Binding::new())
            .pool(at_most(50))
    });
    let mut reported = 0;
    for n in 0..NAMES {
        if n % 5 == 0 {
            // Dedicated tracers have ledgers too.
            let selector = Selector::tenant(&format!("t{n}")).feature("f");
            let tracer = world.registry.dedicated(selector).expect("configured");
            tracer.in_span("span", |_| ());
        } else {
            tenant(&world.registry, &format!("t{n}")).in_span("span", |_| ());
        }
        if n == NAMES / 2 {
            let report = world.registry.force_flush(LONG);
            assert!(report.is_complete(), "{report}");
            reported += delivered(&report);
            assert_eq!(reported, n + 1);
        }
        if n % 250 == 0 {
            assert_eq!(totals(&world.registry.status())[0], n + 1);
        }
    }
    let report = world.registry.force_flush(LONG);
    assert!(report.is_complete() && report.evicted_totals.delivered > 0, "{report}");
    assert_eq!(reported + delivered(&report), NAMES, "each span was reported once");
    let status = world.registry.status();
    assert_eq!(totals(&status), [NAMES, NAMES, 0]);
    let few = |status: &Status| status.tracers.len() <= 1_100;
    let status = wait_for("ledgers to be merged", || world.registry.status(), few);
    assert!(
        status.evicted_totals.names >= NAMES - 1_100 && status.pool.tracers <= 50,
        "{:?}",
        status.pool
    );
    assert_eq!(totals(&status), [NAMES, NAMES, 0]);
    assert_eq!(world.project("all").spans().len() as u64, NAMES);
    // A returning name starts a new ledger. No span is reported twice.
    tenant(&world.registry, "t1").in_span("span", |_| ());
    assert_eq!(delivered(&world.registry.force_flush(LONG)), 1);
    assert_eq!(totals(&world.registry.status()), [NAMES + 1, NAMES + 1, 0]);
}

#[test]
fn ledgers_with_unreported_losses_are_kept_longer() {
    let world = one_project(|builder| builder.pool(at_most(20)));
    world
        .collector
        .fault(Fault::status(400).when_body_contains("bad").times(1));
    tenant(&world.registry, "unlucky").in_span("bad", |_| ());
    let lost = |totals: &[u64; 3]| totals[2] == 1;
    wait_for("a loss", || totals(&world.registry.status()), lost);
    for n in 0..1_100 {
        tenant(&world.registry, &format!("t{n}")).in_span("good", |_| ());
    }
    let merged = |status: &Status| status.evicted_totals.names > 50;
    wait_for("ledgers to be merged", || world.registry.status(), merged);
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
    assert!(report.to_string().contains("evicted selectors: "), "{report}");
}

#[test]
fn a_hanging_receiver_blocks_eviction_only_until_max_elapsed() {
    let world = World::with(&["a", "b", "hangs"], |builder| {
        let export = Export {
            // Long enough to look up "a" before the first timeout, and for a's own requests.
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
    let error = world.registry.tenant("a").expect_err("unsent data");
    assert!(matches!(error, LookupError::PoolFull { .. }), "{error:?}");
    tenant(&world.registry, "a").in_span("span", |_| ());
    let status = world.status("hangs");
    assert_eq!((status.tracers, status.spans.accepted), (0, 1));
    assert_eq!(status.spans.dropped[&DropReason::RetriesExhausted], 1, "{status:?}");
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.lost(), report.pending(), delivered(&report)), (1, 0, 1));
}

#[test]
fn a_removed_tracer_lives_on_in_its_handles_and_the_next_look_up_creates_a_new_one() {
    let reads = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&reads);
    let world = World::with(&["a"], |builder| {
        builder.pool(at_most(1)).secret_source("test", move |name: &str| {
            counter.fetch_add(1, Ordering::Relaxed);
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
    assert_eq!(registry.status().pool.tracers, 0, "its slot is free");
    let new = world.tenant("a");
    assert!(!new.same_tracer(session.tracer()));
    assert_eq!(reads.load(Ordering::Relaxed), 2, "the key is read again");
    assert_eq!(world.status("a").tracers, 2);
    {
        let _in_session = session.enter();
        session.tracer().in_span("in the session", |_| ());
        new.in_span("of the new one", |_| ());
    }
    session.enrich(Enrichment::new().metadata("later", 1));
    open.end();
    drop((session, open));
    let only_one = |tracers: &usize| *tracers == 1;
    wait_for("the old tracer to end", || world.status("a").tracers, only_one);
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
fn a_growing_pool_exceeds_its_limit_and_logs_it_once() {
    let world = one_project(|builder| {
        builder.pool(Pool {
            when_full: Some(WhenFull::Grow),
            ..at_most(2)
        })
    });
    let log = Log::default();
    let held = tracing::subscriber::with_default(log.clone(), || ["a", "b", "c", "d"].map(|name| world.tenant(name)));
    let mut lines = log.lines();
    // The tenants share a project on purpose.
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
    assert_eq!(totals(&world.registry.status()), [4, 4, 0]);
    let pool = world.registry.status().pool;
    assert_eq!((pool.tracers, pool.grown, pool.rejected, pool.evicted), (4, 2, 0, 0));
    drop(held);
    world.tenant("e");
    // The look-up did not wait for an eviction. The sweep runs afterwards.
    let pool = || world.registry.status().pool;
    assert_eq!(pool().grown, 3);
    wait_for("the idle tracers to be evicted", pool, |pool| pool.tracers <= 2);
}

#[test]
fn dedicated_tracers_do_not_count_against_the_pool() {
    let world = World::with(&["a"], |builder| builder.pool(at_most(1)));
    let one = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    let two = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    let pooled = world.tenant("a");
    let status = world.registry.status();
    assert_eq!((status.pool.tracers, status.pool.max_tracers), (1, 1));
    assert_eq!(status.tracers[0].tracers, 3);
    drop((one, two, pooled));
}

#[test]
fn a_tracer_that_several_threads_use_at_once_is_evicted_after_its_last_span() {
    let world = one_project(|builder| builder.pool(at_most(1)));
    let registry = &world.registry;
    let first = tenant(registry, "first");
    let open = thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..3_000).for_each(|_| first.start_span("ended").end()));
        }
        threads.spawn(|| first.start_span("open")).join().expect("no panic")
    });
    drop(first);
    drop(registry.force_flush(LONG));
    assert!(matches!(registry.tenant("second"), Err(LookupError::PoolFull { .. })));
    drop(open);
    drop(tenant(registry, "second"));
    let [accepted, delivered, lost] = totals(&registry.status());
    assert_eq!((accepted, delivered + lost), (12_001, 12_001));
}
