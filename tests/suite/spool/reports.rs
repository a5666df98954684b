//! What the store reports is in the status, in attention, in the changes and in the metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::Span as _;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Export, Spool, SpoolMode};
use tracer_registry::status::{ChangeKind, Problem, Severity, SpoolHealth};
use tracer_registry_collector::Fault;
use tracer_registry_spool::AppendError;
use tracer_registry_spool::test::TestStore;

use crate::metrics::reader::Reader;
use crate::support::{World, once, quick, wait_for};

fn start(disk: &Arc<TestStore>, max_age: Duration) -> World {
    start_with(quick(), disk, max_age)
}

fn start_with(export: Export, disk: &Arc<TestStore>, max_age: Duration) -> World {
    let disk = Arc::clone(disk);
    World::with(&["acme"], |builder| {
        let spool = Spool {
            max_age: Some(max_age),
            ..Spool::default()
        };
        builder
            .export(export)
            .spool(spool)
            .store(SpoolMode::Through, move |report| Ok(disk.open(&report)))
    })
}

fn rules(registry: &TracerRegistry) -> Vec<&'static str> {
    let found = registry.attention().into_iter().map(|found| found.rule);
    found.filter(|rule| rule.starts_with("spool")).collect()
}

/// Returns the starts (true) and ends of the problems of the spool.
fn problems(registry: &TracerRegistry) -> Vec<(Problem, bool)> {
    let changes = registry.changes(0).0.into_iter();
    let problems = changes.filter_map(|change| match change.kind {
        ChangeKind::ProblemBegan(problem) => Some((problem, true)),
        ChangeKind::ProblemEnded(problem) => Some((problem, false)),
        _ => None,
    });
    let of_spool = |problem: &(Problem, bool)| matches!(problem.0, Problem::SpoolFailing | Problem::SpoolFull);
    problems.filter(of_spool).collect()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_disk_that_fails_or_is_full_is_a_problem_until_it_works() {
    let disk = Arc::new(TestStore::new());
    let world = start(&disk, HOUR);
    let registry = &world.registry;
    let reader = Reader::of(registry);
    let failing = || reader.read().sum("tracer_registry.spool.failing", |_| true);
    assert_eq!((rules(registry), failing()), (vec![], 0));
    disk.break_disk();
    disk.break_disk();
    wait_for(
        "a failing disk",
        || rules(registry),
        |rules| *rules == ["spool_failing"],
    );
    let status = || registry.spool_status().expect("a spool");
    let spool = wait_for("its error", status, |spool| spool.error.is_some());
    assert_eq!((spool.mode, spool.health), (SpoolMode::Through, SpoolHealth::Failing));
    let error = spool.error.expect("its error");
    let attention = registry
        .attention()
        .into_iter()
        .find(|found| found.rule == "spool_failing");
    let attention = attention.expect("found before");
    assert_eq!((&attention.message, attention.severity), (&error, Severity::Error));
    assert_eq!((attention.since, failing()), (spool.since, 1));
    assert!(attention.since.is_some());
    disk.fail(None);
    wait_for("a working disk", || rules(registry), Vec::is_empty);
    disk.fail(Some(AppendError::Full));
    wait_for("a full disk", || rules(registry), |rules| *rules == ["spool_full"]);
    assert_eq!((failing(), registry.spool_status().expect("a spool").error), (0, None));
    disk.fail(None);
    wait_for("room", || rules(registry), Vec::is_empty);
    let (failing, full) = (Problem::SpoolFailing, Problem::SpoolFull);
    let expected = [(failing, true), (failing, false), (full, true), (full, false)];
    wait_for(
        "each change once",
        || problems(registry),
        |problems| *problems == expected,
    );
}

#[test]
fn a_disk_that_is_full_after_it_failed_does_not_fail_any_more() {
    let disk = Arc::new(TestStore::new());
    let world = start(&disk, HOUR);
    let registry = &world.registry;
    let (failing, full) = (Problem::SpoolFailing, Problem::SpoolFull);
    let wait_for_problems = |expected: &[(Problem, bool)]| {
        wait_for("changes", || problems(registry), |problems| *problems == expected);
        registry.spool_status().expect("a spool")
    };
    disk.break_disk();
    let broken = wait_for_problems(&[(failing, true)]);
    assert!(broken.error.is_some());
    disk.fail(Some(AppendError::Full));
    let all = [(failing, true), (failing, false), (full, true), (full, false)];
    let spool = wait_for_problems(&all[..3]);
    assert_eq!((spool.health, spool.error), (SpoolHealth::Full, None));
    assert!(spool.since.is_some());
    assert_eq!(rules(registry), ["spool_full"]);
    disk.fail(None);
    let working = wait_for_problems(&all);
    assert_eq!(
        (working.health, working.error, working.since),
        (SpoolHealth::Working, None, None)
    );
}

#[test]
fn sums_of_metrics_hold_with_data_on_disk_and_after_a_restart() {
    let disk = Arc::new(TestStore::new());
    let sums = |world: &World| {
        let reading = Reader::of(&world.registry).read();
        let sum = |name: &str| reading.sum(name, |_| true);
        let waiting = sum("otel.sdk.processor.span.queue.size") + sum("tracer_registry.spool.span.count");
        let status = world.of_acme();
        let accepted = i64::try_from(status.spans.accepted).expect("small");
        assert_eq!(
            sum("otel.sdk.processor.span.processed") + waiting,
            accepted,
            "{status:#?}"
        );
        let (started, live) = (sum("otel.sdk.span.started"), sum("otel.sdk.span.live"));
        let recovered = sum("tracer_registry.span.recovered");
        assert_eq!(started + recovered, live + accepted, "{status:#?}");
        assert!(sum("tracer_registry.spool.usage") <= sum("tracer_registry.spool.limit"));
        (accepted, recovered)
    };
    {
        let world = start(&disk, HOUR);
        world.collector.fault(Fault::status(503));
        let tracer = world.registry.tenant("acme").expect("configured");
        (0..10).for_each(|_| tracer.start_span("span").end());
        let on_disk = || world.registry.spool_status().expect("a spool").spans;
        wait_for("all on disk", on_disk, |spans| *spans == 10);
        assert_eq!(sums(&world), (10, 0));
    }
    let world = start(&disk, HOUR);
    world.flush();
    assert_eq!(sums(&world), (10, 10));
    wait_for("an empty disk", || disk.all().len(), |rows| *rows == 0);
    assert_eq!(world.of_acme().spans.delivered, 10);
}

#[test]
fn data_that_waits_for_half_of_the_longest_age_needs_attention() {
    let disk = Arc::new(TestStore::new());
    let age = Duration::from_secs(600);
    {
        let world = start(&disk, age);
        world.collector.fault(Fault::status(503));
        let tracer = world.registry.tenant("acme").expect("configured");
        tracer.start_span("span").end();
        wait_for("a row", || disk.all().len(), |rows| *rows == 1);
    }
    disk.edit("tenant:acme", |row| row.created -= 400_000);
    // Without retries, so that the row goes back to disk at once. It is not sent before the fault.
    disk.hold_takes(true);
    let world = start_with(once(), &disk, age);
    world.collector.fault(Fault::status(503));
    disk.hold_takes(false);
    wait_for("an old row", || rules(&world.registry), |rules| *rules == ["spool_old"]);
    let oldest = world.of_acme().oldest_spooled.expect("known after a load");
    let waits = SystemTime::now().duration_since(oldest).expect("past");
    assert!(waits >= Duration::from_secs(400) && waits < age, "{waits:?}");
    let status = world.registry.status().spool.expect("a spool");
    assert_eq!(status.oldest, Some(oldest));
}

impl World {
    fn of_acme(&self) -> tracer_registry::status::TracerStatus {
        self.status("acme")
    }
}
