//! Pauses of a selector: nothing is sent, nothing is lost, and others are not affected.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::trace::Span as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use secrecy::SecretString;
use tracer_registry::config::{Binding, Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::secret::SecretError;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;
use tracer_registry::status::{ChangeKind, DropReason, RequestState, Status, TracerFilter, TracerQuery, TracerStatus};
use tracer_registry::{KeySource, LookupError, Selector};
use tracer_registry_collector::Fault;

use crate::reload::{Files, table};
use crate::support::{AT_ONCE, LONG, World, binding, key_of, quick, wait_for};

/// Longer than an export takes.
const A_WHILE: Duration = Duration::from_millis(300);

fn selector(name: &str) -> Selector {
    Selector::try_from(Selector::tenant(name)).expect("a slug")
}

impl World {
    fn pause(&self, name: &str) -> bool {
        self.registry.pause(selector(name)).expect("a tracer or a binding")
    }

    fn resume(&self, name: &str) -> bool {
        self.registry.resume(selector(name)).expect("a selector")
    }
}

/// Asserts that the ledgers add up.
fn assert_adds_up(tracer: &TracerStatus) {
    for ledger in [&tracer.spans, &tracer.session_events] {
        assert_eq!(
            ledger.accepted,
            ledger.delivered + ledger.pending() + ledger.lost(),
            "{tracer:#?}"
        );
    }
}

#[test]
fn a_paused_selector_sends_nothing_until_it_is_resumed_and_others_do() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    a.start_span("before").end();
    wait_for("a span", || world.names("a"), |names| names.len() == 1);
    assert!(world.pause("a") && !world.pause("a"));
    let _session = a.session("s").start();
    (0..5).for_each(|n| a.start_span(format!("{n}")).end());
    // Later tracers of the selector are paused too.
    let dedicated = world.registry.dedicated(a.selector()).expect("configured");
    dedicated.start_span("dedicated").end();
    drop((a, dedicated));
    world.registry.remove(selector("a")).expect("a selector");
    let again = world.tenant("a");
    again.start_span("again").end();
    world.tenant("b").start_span("of b").end();
    wait_for("the other tenant", || world.names("b"), |names| names.len() == 1);
    let waits = |status: &TracerStatus| {
        status
            .oldest_request
            .is_some_and(|one| one.state == RequestState::Paused)
    };
    wait_for("a paused request", || world.status("a"), waits);
    // What another tenant starts after that arrives, and nothing of the paused one.
    world.tenant("b").start_span("later").end();
    wait_for("the other tenant", || world.names("b"), |names| names.len() == 2);
    let status = world.status("a");
    assert_adds_up(&status);
    assert_eq!((world.names("a").len(), world.project("a").sessions().len()), (1, 0));
    assert_eq!(
        (status.paused, status.spans.pending(), status.session_events.pending()),
        (true, 7, 1)
    );
    assert_eq!((world.status("b").paused, status.spans.lost()), (false, 0));
    let mut query = TracerQuery::default();
    query.only = TracerFilter::Paused;
    let paused = world.registry.tracers(&query).tracers;
    assert_eq!(
        paused.iter().map(|tracer| &tracer.selector).collect::<Vec<_>>(),
        [&selector("a")]
    );

    // No flush waits for it.
    let begun = Instant::now();
    assert_eq!(again.force_flush(LONG).pending, 1);
    let report = world.registry.force_flush(LONG);
    assert_eq!(
        (report.tracers[0].pending, report.tracers[0].session_events.pending),
        (7, 1)
    );
    assert_eq!(world.registry.flush(selector("a"), LONG), Ok(Some(8)));
    assert_eq!(world.registry.flush(selector("b"), LONG), Ok(Some(0)));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(world.names("a").len(), 1);

    assert!(world.resume("a") && !world.resume("a"));
    world.flush();
    let names = world.names("a");
    let of_one: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.len() == 1)
        .collect();
    assert_eq!(
        (names.len(), of_one),
        (8, vec!["0", "1", "2", "3", "4"]),
        "each once, in order"
    );
    assert_eq!(world.project("a").sessions().len(), 1);
    assert!(!world.status("a").paused);
}

#[test]
fn a_paused_queue_is_bounded_and_a_request_in_progress_is_completed() {
    let export = Export {
        max_queue_size: Some(10),
        max_export_batch_size: Some(4),
        ..quick()
    };
    let world = World::with(&["a"], |builder| builder.export(export));
    let a = world.tenant("a");
    let slow = world.collector.fault(Fault::delay(A_WHILE));
    a.start_span("in progress").end();
    let sent = |status: &TracerStatus| status.oldest_request.is_some_and(|one| one.state == RequestState::Sent);
    wait_for("a request", || world.status("a"), sent);
    world.pause("a");
    world.collector.clear_fault(slow);
    wait_for("its answer", || world.status("a"), |status| status.spans.delivered == 1);
    (0..25).for_each(|n| a.start_span(format!("{n}")).end());
    let status = world.status("a");
    assert_adds_up(&status);
    assert_eq!(
        (status.spans.queued, status.spans.dropped[&DropReason::QueueFull]),
        (10, 15)
    );
    world.resume("a");
    let report = world.registry.force_flush(LONG);
    assert_eq!((report.pending(), world.names("a").len()), (0, 11));
}

#[test]
fn a_shutdown_and_a_drop_send_what_a_pause_kept() {
    for mode in [ExportMode::Background, ExportMode::Inline] {
        for drops in [false, true] {
            let mut export = quick();
            export.mode = Some(mode);
            export.drop_timeout = Some(LONG);
            let world = World::with(&["a"], |builder| builder.export(export));
            world.pause("a");
            let a = world.tenant("a");
            let session = a.session("s").start();
            (0..3).for_each(|n| a.start_span(format!("{n}")).end());
            let report = world.registry.force_flush(LONG);
            assert_eq!(
                (report.tracers[0].pending, report.tracers[0].session_events.pending),
                (3, 1)
            );
            drop((session, a));
            let World { registry, collector } = world;
            if drops {
                drop(registry);
            } else {
                let report = registry.shutdown(LONG);
                assert!(report.is_complete(), "{mode:?}: {report}");
                assert_eq!(registry.pause(selector("a")), Err(LookupError::Shutdown));
            }
            let project = collector.project("a").expect("named");
            assert_eq!((project.spans().len(), project.sessions().len()), (3, 1), "{mode:?}");
        }
    }
}

#[test]
fn an_inline_flush_sends_for_others_and_continues_after_a_resume() {
    let mut export = quick();
    export.mode = Some(ExportMode::Inline);
    let world = World::with(&["a", "b"], |builder| builder.export(export));
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    world.pause("a");
    for round in 1..=2 {
        a.start_span("of a").end();
        b.start_span("of b").end();
        let begun = Instant::now();
        let report = world.registry.force_flush(LONG);
        assert_eq!((report.tracers[0].pending, report.tracers[1].pending), (round, 0));
        assert!(begun.elapsed() < AT_ONCE);
    }
    assert_eq!((world.names("a").len(), world.names("b").len()), (0, 2));
    world.resume("a");
    assert!(a.force_flush(LONG).is_complete());
    assert_eq!(world.names("a").len(), 2);
}

#[test]
fn a_pause_reads_no_key_and_outlives_its_tracers_and_the_eviction_of_ledgers() {
    let reads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reads);
    let world = World::with(&["*"], |builder| {
        builder
            .tenant("*", binding("*"))
            .tenant("known", binding("*"))
            .tenant("counted", binding("*").api_key(KeySource::provider("counted", "*")))
            .secret_source("counted", move |_: &str| {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, SecretError>(SecretString::from(key_of("*")))
            })
            .pool(Pool {
                max_tracers: Some(20),
                idle_timeout: Some(IdleTimeout::After(Duration::from_millis(1))),
                when_full: None,
            })
    });
    assert!(world.pause("counted") && world.pause("known"));
    assert_eq!(reads.load(Ordering::SeqCst), 0);
    assert_eq!(
        (world.status("counted").tracers, world.status("counted").key),
        (0, None)
    );
    // A tracer without data is evicted.
    drop(world.tenant("known"));
    wait_for(
        "its eviction",
        || world.status("known").tracers,
        |tracers| *tracers == 0,
    );
    let mut others = 0;
    let churn = || {
        for _ in 0..50 {
            others += 1;
            // A full pool may refuse it.
            drop(world.registry.tenant(&format!("other-{others}")));
        }
        world.registry.status_without_tracers()
    };
    wait_for("evicted ledgers", churn, |status: &Status| {
        status.evicted_totals.names > 500
    });
    assert!(world.status("counted").paused && world.status("known").paused);
    let known = world.tenant("known");
    known.start_span("kept").end();
    assert_eq!(known.force_flush(LONG).pending, 1);
    assert!(world.resume("counted") && world.resume("known"));
    assert!(known.force_flush(LONG).is_complete());
    drop(known);
    // Both ledgers may be evicted now.
    let is_kept = |name: &str| {
        world
            .registry
            .tracer_status(selector(name))
            .expect("a selector")
            .is_some()
    };
    let mut churn = || {
        for _ in 0..50 {
            others += 1;
            drop(world.registry.tenant(&format!("other-{others}")));
        }
        is_kept("counted") || is_kept("known")
    };
    wait_for("the eviction of both", &mut churn, |is_kept| !is_kept);
}

#[test]
fn an_unknown_or_invalid_selector_is_an_error() {
    let world = World::new(&["a"]);
    assert!(world.registry.pause(selector("b")).expect_err("unknown").is_unknown());
    assert!(matches!(
        world.registry.pause(Selector::tenant("A b")),
        Err(LookupError::Selector(_))
    ));
    assert!(world.registry.resume(Selector::tenant("A b")).is_err());
    assert!(world.registry.flush(Selector::tenant(""), LONG).is_err());
    assert_eq!(world.registry.resume(selector("b")), Ok(false));
    assert_eq!(world.registry.flush(selector("b"), LONG), Ok(None));
    assert_eq!(world.registry.flush(selector("a"), LONG), Ok(None), "it has no tracer");
    world.pause("a");
    assert_eq!(world.registry.flush(selector("a"), LONG), Ok(None));
    assert!(world.registry.status().tracer(&selector("b")).is_none());
}

#[test]
fn a_selector_is_known_by_its_counts_or_its_binding_and_no_source_is_asked() {
    let world = World::new(&["a"]);
    let check = |world: &World, name: &str| world.registry.check_known(selector(name));
    assert!(check(&world, "a").is_ok());
    let (unknown, paused) = (check(&world, "b"), world.registry.pause(selector("b")));
    assert_eq!(
        unknown.expect_err("unknown").to_string(),
        paused.expect_err("unknown").to_string()
    );
    assert!(matches!(
        world.registry.check_known(Selector::tenant("A b")),
        Err(LookupError::Selector(_))
    ));
    let world = World::with(&["a"], |builder| {
        builder.binding_source(|_: &Slug| -> Result<Option<Binding>, SourceError> { panic!("the source is asked") })
    });
    assert!(check(&world, "b").is_ok());
}

#[test]
fn each_action_that_has_an_effect_is_a_change() {
    let world = World::new(&["a"]);
    drop(world.tenant("a"));
    for _ in 0..2 {
        world.pause("a");
        world.registry.remove(selector("a")).expect("a selector");
    }
    assert!(world.resume("a") && !world.resume("a"));
    let (changes, _) = world.registry.changes(0);
    assert!(
        changes
            .iter()
            .all(|change| change.selector.as_ref() == Some(&selector("a")))
    );
    let kinds: Vec<ChangeKind> = changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Paused, ChangeKind::Removed, ChangeKind::Resumed]);
}

#[test]
fn the_flush_of_one_selector_reports_nothing() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    world.collector.fault(Fault::status(400).only(key_of("a")));
    a.start_span("lost").end();
    assert_eq!(world.registry.flush(selector("a"), LONG), Ok(Some(0)));
    assert_eq!(world.status("a").spans.lost(), 1);
    assert_eq!(a.force_flush(LONG).lost(), 1, "the report still has it");
    world.collector.clear_faults();
    world.collector.fault(Fault::hang().only(key_of("a")));
    a.start_span("hangs").end();
    let begun = Instant::now();
    assert_eq!(world.registry.flush(selector("a"), A_WHILE), Ok(Some(1)));
    assert!(begun.elapsed() >= A_WHILE);
    world.collector.clear_faults();
    world.flush();
}

#[test]
fn random_pauses_beside_flushes_reloads_and_evictions_lose_and_mix_nothing() {
    const TENANTS: [&str; 3] = ["t0", "t1", "t2"];
    for seed in 0..3 {
        let tables: String = TENANTS.map(|name| table(name, name)).concat();
        let text = |round: u64| {
            let changed = format!("{}source = \"s{round}\"\n", table("t2", "t2"));
            format!(
                "[pool]\nmax_tracers = 2\nwhen_full = \"grow\"\n{}",
                tables.replace(&table("t2", "t2"), &changed)
            )
        };
        let files = Files::new(&TENANTS, &text(0));
        let world = &files.world;
        let (stop, start) = (AtomicBool::new(false), Barrier::new(5));
        let sent = TENANTS.map(|_| AtomicU64::new(0));
        thread::scope(|threads| {
            for (at, name) in TENANTS.iter().enumerate() {
                let (sent, stop, start) = (&sent[at], &stop, &start);
                threads.spawn(move || {
                    start.wait();
                    while !stop.load(Ordering::Relaxed) {
                        let number = sent.fetch_add(1, Ordering::SeqCst);
                        world.tenant(name).start_span(format!("{name}-{number}")).end();
                        thread::sleep(Duration::from_micros(500));
                    }
                });
            }
            threads.spawn(|| {
                let mut random = StdRng::seed_from_u64(seed);
                start.wait();
                for round in 0..150 {
                    let name = TENANTS[random.random_range(0..3)];
                    match random.random_range(0..8) {
                        0 | 1 => drop(world.pause(name)),
                        2 | 3 => drop(world.resume(name)),
                        4 => drop(world.registry.flush(selector(name), Duration::from_millis(5))),
                        5 => drop(world.registry.remove(selector(name))),
                        6 => {
                            files.rewrite(&text(round));
                            drop(world.registry.reload());
                        }
                        _ => thread::sleep(Duration::from_millis(5)),
                    }
                    for tracer in &world.registry.status().tracers {
                        assert_adds_up(tracer);
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            start.wait();
        });
        // Half of the seeds end with a shutdown while tenants may be paused.
        if seed % 2 == 0 {
            for name in TENANTS {
                world.resume(name);
            }
            world.flush();
        } else {
            let report = world.registry.shutdown(LONG);
            assert!(report.is_complete(), "{report}");
        }
        for (name, sent) in TENANTS.iter().zip(&sent) {
            let mut names = world.names(name);
            names.sort_unstable_by_key(|name| (name.len(), name.clone()));
            let expected: Vec<String> = (0..sent.load(Ordering::SeqCst))
                .map(|n| format!("{name}-{n}"))
                .collect();
            assert_eq!(names, expected, "seed {seed}");
        }
    }
}
