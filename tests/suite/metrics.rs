//! Metrics of the registry, read by OpenTelemetry's SDK: they match the ledgers, under stable
//! names.

mod problems;
pub(crate) mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Metrics, Pool};
use tracer_registry::status::{DropReason, LedgerSnapshot, Status};
use tracer_registry::{Enrichment, Selector};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, key_of, once, quick, wait_for};
use reader::{Reader, Reading};

const STARTED: &str = "otel.sdk.span.started";
const LIVE: &str = "otel.sdk.span.live";
const QUEUED: &str = "otel.sdk.processor.span.queue.size";
const CAPACITY: &str = "otel.sdk.processor.span.queue.capacity";
const PROCESSED: &str = "otel.sdk.processor.span.processed";
const IN_FLIGHT: &str = "otel.sdk.exporter.span.inflight";
const EXPORTED: &str = "otel.sdk.exporter.span.exported";
const EVENTS_QUEUED: &str = "tracer_registry.session_event.queue.size";
const EVENTS_IN_FLIGHT: &str = "tracer_registry.session_event.inflight";
const EVENTS_SETTLED: &str = "tracer_registry.session_event.settled";
const MEMORY: &str = "tracer_registry.memory.usage";
const MEMORY_LIMIT: &str = "tracer_registry.memory.limit";
const UNROUTED: &str = "tracer_registry.span.unrouted";
const TRACERS: &str = "tracer_registry.tracer.count";
const REJECTED: &str = "tracer_registry.pool.rejected";
const GROWN: &str = "tracer_registry.pool.grown";
const EVICTED: &str = "tracer_registry.pool.evicted";
const POOL_LIMIT: &str = "tracer_registry.pool.limit";
const RELOADS: &str = "tracer_registry.configuration.reloads";
const CONFIGURATION_FAILING: &str = "tracer_registry.configuration.failing";
const STALE: &str = "tracer_registry.span.stale_scope";

fn succeeded(attributes: &BTreeMap<String, String>) -> bool {
    !attributes.contains_key("error.type")
}

/// Returns the value of the `error.type` attribute for a reason.
fn error_type(reason: DropReason) -> String {
    match reason {
        DropReason::AfterShutdown => "already_shutdown".to_owned(),
        other => serde_json::to_value(other)
            .expect("a text")
            .as_str()
            .expect("a text")
            .to_owned(),
    }
}

fn count(number: u64) -> i64 {
    number.try_into().expect("small")
}

/// Asserts that the series with these attributes match the ledgers.
fn assert_matches_ledgers(
    reading: &Reading,
    of: &dyn Fn(&BTreeMap<String, String>) -> bool,
    spans: &LedgerSnapshot,
    events: &LedgerSnapshot,
) {
    let at = |instrument: &str, error: Option<&str>| {
        reading.sum(instrument, |attributes| {
            of(attributes) && attributes.get("error.type").map(String::as_str) == error
        })
    };
    assert_eq!(at(EXPORTED, None), count(spans.delivered));
    assert_eq!(at(QUEUED, None), count(spans.queued));
    assert_eq!(at(IN_FLIGHT, None), count(spans.in_flight));
    assert_eq!(at(EVENTS_SETTLED, None), count(events.delivered));
    assert_eq!(at(EVENTS_QUEUED, None), count(events.queued));
    assert_eq!(at(EVENTS_IN_FLIGHT, None), count(events.in_flight));
    for reason in DropReason::ALL {
        let error = error_type(reason);
        let instrument = match reason {
            DropReason::QueueFull
            | DropReason::QueueFullUnauthorized
            | DropReason::QueueFullUnavailable
            | DropReason::AfterShutdown
            | DropReason::SpoolFull => PROCESSED,
            _ => EXPORTED,
        };
        let dropped = |ledger: &LedgerSnapshot| count(ledger.dropped.get(&reason).copied().unwrap_or_default());
        assert_eq!(at(instrument, Some(&error)), dropped(spans), "{reason:?} {reading:#?}");
        assert_eq!(
            at(EVENTS_SETTLED, Some(&error)),
            dropped(events),
            "{reason:?} {reading:#?}"
        );
    }
    let everything = reading.sum(PROCESSED, of) + at(QUEUED, None);
    assert_eq!(everything, count(spans.accepted));
    let settled = reading.sum(EXPORTED, of) + at(IN_FLIGHT, None);
    assert_eq!(settled, at(PROCESSED, None));
}

fn sum_of<'a>(ledgers: impl Iterator<Item = &'a LedgerSnapshot>) -> LedgerSnapshot {
    ledgers.fold(LedgerSnapshot::default(), |mut all, ledger| {
        all.accepted += ledger.accepted;
        all.delivered += ledger.delivered;
        all.queued += ledger.queued;
        all.in_flight += ledger.in_flight;
        for (reason, dropped) in &ledger.dropped {
            *all.dropped.entry(*reason).or_default() += dropped;
        }
        all
    })
}

fn accepted(status: &Status) -> i64 {
    count(sum_of(status.tracers.iter().map(|tracer| &tracer.spans)).accepted)
}

fn bounded(max_tracers: usize) -> Metrics {
    Metrics {
        max_tracers: Some(max_tracers),
    }
}

#[test]
fn the_sum_of_all_series_always_matches_the_ledgers_with_any_number_of_tenants() {
    const NAMED: usize = 4;
    let names: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with(&tenants, |builder| {
        let export = Export {
            max_queue_size: Some(60),
            max_export_batch_size: Some(16),
            ..quick()
        };
        builder.export(export).metrics(bounded(NAMED))
    });
    let reader = Reader::of(&world.registry);
    let done = AtomicBool::new(false);
    let last = thread::scope(|threads| {
        let watcher = threads.spawn(|| watch(&world, &reader, &done));
        let workers: Vec<_> = (0..3)
            .map(|seed| {
                threads.spawn({
                    let (world, tenants) = (&world, &tenants);
                    move || work(world, tenants, seed)
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("no panic");
        }
        done.store(true, Ordering::SeqCst);
        watcher.join().expect("no panic")
    });
    world.collector.clear_faults();
    drop(world.registry.force_flush(LONG));
    drop(world.registry.shutdown(LONG));
    // Reading after shutdown is no look-up: existing handles still work, and their spans are
    // counted.
    let (reading, status) = (reader.read(), world.registry.status());
    assert!(last.named().is_subset(&reading.named()));
    assert_eq!((status.tracers.len(), reading.named().len()), (12, NAMED));
    let own = |attributes: &BTreeMap<String, String>| attributes.get("otel.component.name").cloned();
    for tracer in &status.tracers {
        let name = tracer.selector.to_string();
        if reading.named().contains(&name) {
            assert_matches_ledgers(
                &reading,
                &|attributes| own(attributes).as_ref() == Some(&name),
                &tracer.spans,
                &tracer.session_events,
            );
        }
    }
    let is_other =
        |attributes: &BTreeMap<String, String>| attributes.get("otel.metric.overflow").is_some_and(|is| is == "true");
    let others = || {
        status
            .tracers
            .iter()
            .filter(|tracer| !reading.named().contains(&tracer.selector.to_string()))
    };
    let ledgers_of_others = (
        sum_of(others().map(|tracer| &tracer.spans)),
        sum_of(others().map(|tracer| &tracer.session_events)),
    );
    assert_matches_ledgers(&reading, &is_other, &ledgers_of_others.0, &ledgers_of_others.1);
    let spans = sum_of(status.tracers.iter().map(|tracer| &tracer.spans));
    let events = sum_of(status.tracers.iter().map(|tracer| &tracer.session_events));
    assert_matches_ledgers(&reading, &|_| true, &spans, &events);
    assert!(
        spans.lost() > 0 && events.accepted > 0 && ledgers_of_others.0.accepted > 0,
        "{spans:#?}"
    );
    assert_eq!((reading.all(LIVE), reading.all(STARTED)), (0, accepted(&status)));
    assert_eq!((reading.all(MEMORY), reading.all(MEMORY_LIMIT)), (0, 64 << 20));
}

/// Creates spans, sessions and dedicated tracers for random tenants, and random faults.
fn work(world: &World, tenants: &[&str], seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..400 {
        let tenant = tenants[random.random_range(0..tenants.len())];
        match random.random_range(0..12) {
            0 => drop(world.tenant(tenant).session("s").start()),
            1 => {
                let session = world.tenant(tenant).session("s").start();
                session.enrich(Enrichment::new().metadata("n", 1));
            }
            2 => {
                let dedicated = world.registry.dedicated(Selector::tenant(tenant)).expect("configured");
                dedicated.start_span("dedicated");
            }
            3 => {
                let fault = match random.random_range(0..5) {
                    0 => Fault::partial_success(random.random_range(1..4)),
                    1 => Fault::status(401),
                    2 => Fault::status(413),
                    3 => Fault::status(503),
                    _ => Fault::delay(Duration::from_millis(random.random_range(1..10))),
                };
                world.collector.fault(fault.times(1).only(key_of(tenant)));
            }
            // Sometimes more than fits the queue.
            _ => (0..random.random_range(0..90)).for_each(|_| drop(world.tenant(tenant).start_span("span"))),
        }
    }
}

/// Reads until `done` is set and returns the last reading. Checks that counters never decrease,
/// that names stay, and that each reading balances.
fn watch(world: &World, reader: &Reader, done: &AtomicBool) -> Reading {
    let mut last = Reading::default();
    let mut reads = 0;
    while !done.load(Ordering::SeqCst) || reads < 10 {
        let before = accepted(&world.registry.status());
        let reading = reader.read();
        let after = accepted(&world.registry.status());
        for (key, value) in &last.values {
            if reading.counters.contains(&key.0) {
                assert!(reading.values.get(key) >= Some(value), "{key:?}: {value} {reading:#?}");
            }
        }
        assert!(last.named().is_subset(&reading.named()) && reading.named().len() <= 4);
        let total = reading.all(PROCESSED) + reading.all(QUEUED);
        assert!((before..=after).contains(&total), "{before} {total} {after}");
        let (settled, passed) = (
            reading.all(EXPORTED) + reading.all(IN_FLIGHT),
            reading.sum(PROCESSED, succeeded),
        );
        assert_eq!(settled, passed, "{reading:#?}");
        // Started spans include open ones.
        assert_eq!(reading.all(STARTED) - reading.all(LIVE), total);
        last = reading;
        reads += 1;
    }
    last
}

#[test]
fn with_a_limit_of_zero_names_all_tracers_share_one_series() {
    let world = World::with(&["a", "b"], |builder| builder.metrics(bounded(0)));
    let reader = Reader::of(&world.registry);
    let of_registry = [
        CONFIGURATION_FAILING,
        RELOADS,
        MEMORY_LIMIT,
        EVICTED,
        GROWN,
        POOL_LIMIT,
        REJECTED,
        STALE,
        UNROUTED,
    ];
    let reading = reader.read();
    let names: Vec<&str> = reading.values.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, of_registry, "only those that belong to no tracer");
    let routed = world.registry.routing_provider().tracer("driver");
    routed.start("in no scope").end();
    assert_eq!(reader.read().all(UNROUTED), 1);
    for tenant in ["a", "b"] {
        world.tenant(tenant).start_span("span");
    }
    world.flush();
    let reading = reader.read();
    assert!(reading.named().is_empty(), "{reading:#?}");
    assert_eq!(
        (reading.all(EXPORTED), reading.all(TRACERS), reading.all(CAPACITY)),
        (2, 2, 2 * 8192)
    );
    let series = reading.values.keys().filter(|(name, _)| name == EXPORTED);
    assert_eq!(series.count(), 1);
}

#[test]
fn a_series_names_the_tracer_and_its_server_but_no_key() {
    let world = World::with(&["a", "b"], |builder| builder.metrics(bounded(1)));
    let reader = Reader::of(&world.registry);
    for tenant in ["b", "a"] {
        world.tenant(tenant).start_span("span");
    }
    world.flush();
    let reading = reader.read();
    assert_eq!(
        reading.named(),
        BTreeSet::from(["tenant:b".to_owned()]),
        "the first tracer created"
    );
    let url = world.collector.url();
    let port = url.rsplit(':').next().expect("a port");
    let exported = |attributes: &[(&str, &str)]| {
        let attributes = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        reading.values.get(&(EXPORTED.to_owned(), attributes.collect()))
    };
    let kind = ("otel.component.type", "otlp_http_span_exporter");
    let server = [("server.address", "127.0.0.1"), ("server.port", port)];
    assert_eq!(
        exported(&[kind, ("otel.component.name", "tenant:b"), server[0], server[1]]),
        Some(&1)
    );
    assert_eq!(exported(&[kind, ("otel.metric.overflow", "true")]), Some(&1));
    let output = format!("{reading:?}");
    assert!(!output.contains(&key_of("a")) && !output.contains(&key_of("b")));
}

#[test]
fn open_spans_and_unsampled_spans_are_counted_separately() {
    let world = World::with(&["a"], |builder| {
        builder.tenant("quiet", binding("a").sampling_ratio(0.0))
    });
    let reader = Reader::of(&world.registry);
    let (open, unsampled) = (
        world.tenant("a").start_span("open"),
        world.tenant("quiet").start_span("unsampled"),
    );
    let reading = reader.read();
    let started = |result: &str| reading.sum(STARTED, |of| of["otel.span.sampling_result"] == result);
    assert_eq!(
        (reading.all(LIVE), started("RECORD_AND_SAMPLE"), started("DROP")),
        (1, 1, 1)
    );
    drop((open, unsampled));
    let reading = reader.read();
    assert_eq!((reading.all(LIVE), reading.all(STARTED)), (0, 2));
    assert_eq!(reading.all(PROCESSED) + reading.all(QUEUED), 1);
}

#[test]
fn spans_after_shutdown_are_reported_and_nothing_once_the_registry_is_dropped() {
    let World { registry, collector } = World::new(&["a"]);
    let (one, other) = (Reader::of(&registry), Reader::of(&registry));
    let tracer = registry.tenant("a").expect("configured");
    drop(registry.shutdown(LONG));
    tracer.start_span("late");
    for reader in [&one, &other, &one] {
        let reading = reader.read();
        let late = reading.sum(PROCESSED, |of| {
            of.get("error.type").is_some_and(|error| error == "already_shutdown")
        });
        assert_eq!((late, reading.all(PROCESSED)), (1, 1), "{reading:#?}");
    }
    drop((registry, tracer));
    for reader in [one, other] {
        assert!(reader.read().values.is_empty());
    }
    drop(collector);
}

#[test]
fn each_reason_for_a_full_queue_has_its_own_series_of_rejected_spans() {
    let world = World::with(&["a"], |builder| {
        builder.export(Export {
            mode: Some(ExportMode::Inline),
            max_queue_size: Some(5),
            ..once()
        })
    });
    let (reader, a) = (Reader::of(&world.registry), world.tenant("a"));
    for status in [429, 401, 503] {
        let fault = world.collector.fault(Fault::status(status));
        a.start_span("refused").end();
        drop(world.registry.force_flush(LONG));
        world.collector.clear_fault(fault);
        (0..6).for_each(|_| drop(a.start_span("span")));
        drop(world.registry.force_flush(LONG));
    }
    let (reading, status) = (reader.read(), world.status("a"));
    let reasons: Vec<String> = status.spans.dropped.keys().map(|reason| error_type(*reason)).collect();
    assert_eq!(
        reasons,
        [
            "queue_full",
            "queue_full_unauthorized",
            "queue_full_unavailable",
            "unauthorized",
            "retries_exhausted"
        ]
    );
    assert_matches_ledgers(&reading, &|_| true, &status.spans, &status.session_events);
}

#[test]
fn an_observed_registry_is_dropped_with_its_last_handle() {
    let World { registry, collector } = World::new(&["a"]);
    let reader = Reader::of(&registry);
    registry.tenant("a").expect("configured").start_span("span");
    assert_eq!(reader.read().all(STARTED), 1);
    drop(registry);
    assert_eq!(
        collector.project("a").expect("named").spans().len(),
        1,
        "the drop delivers queued spans"
    );
    assert!(reader.read().values.is_empty());
}

#[test]
fn spans_of_evicted_names_stay_in_the_sums() {
    const NAMES: usize = 1_300;
    const REFUSED: usize = 100;
    let world = World::with(&["*"], |builder| {
        builder.export(once()).metrics(bounded(10)).pool(Pool {
            max_tracers: Some(50),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let reader = Reader::of(&world.registry);
    let fault = world.collector.fault(Fault::status(400));
    for number in 0..NAMES {
        if number == REFUSED {
            // A reported loss does not keep its name.
            drop(world.registry.force_flush(LONG));
            world.collector.clear_fault(fault);
        }
        let name = format!("t{number}");
        let found = wait_for("capacity", || world.registry.tenant(&name), Result::is_ok);
        found.expect("configured").start_span("span").end();
    }
    drop(world.registry.force_flush(LONG));
    let is_evicted = |status: &Status| status.evicted_totals.names > REFUSED as u64;
    let status = wait_for("evicted names", || world.registry.status(), is_evicted);
    let evicted = &status.evicted_totals;
    assert!(evicted.spans.dropped.contains_key(&DropReason::Refused), "{evicted:#?}");
    let tracers = status.tracers.iter();
    let spans = sum_of(tracers.clone().map(|tracer| &tracer.spans).chain([&evicted.spans]));
    let events = sum_of(
        tracers
            .map(|tracer| &tracer.session_events)
            .chain([&evicted.session_events]),
    );
    assert_eq!(
        (spans.accepted, spans.dropped[&DropReason::Refused]),
        (NAMES as u64, REFUSED as u64)
    );
    let reading = reader.read();
    assert_matches_ledgers(&reading, &|_| true, &spans, &events);
    assert_eq!(reading.all(STARTED), count(spans.accepted));
}
