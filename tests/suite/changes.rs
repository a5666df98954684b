//! Changes of a registry: each start and end of a problem, new key and reload is recorded once.

use std::fs;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{Binding, Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::status::Change;
use tracer_registry::{KeySource, TracerRegistry};
use tracer_registry_collector::Fault;
use tracing::subscriber::with_default;

use crate::log::Log;
use crate::support::{AT_ONCE, LONG, World, binding, key_of, once, quick, wait_for};

/// The engine runs on the flushing thread. One attempt per flush.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

fn send(world: &World, tenant: &str, count: usize) {
    let tracer = world.tenant(tenant);
    (0..count).for_each(|_| tracer.start_span("span").end());
    drop(world.registry.force_flush(LONG));
}

/// Formats a change: kind, problem and reason, selector, detail.
fn text(change: &Change) -> String {
    let json = serde_json::to_value(change).expect("serializable");
    let fields = ["kind", "problem", "reason", "name", "selector", "detail"];
    let texts = fields.iter().filter_map(|field| json.get(*field)?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

fn all(registry: &TracerRegistry) -> Vec<String> {
    registry.changes(0).0.iter().map(text).collect()
}

fn has(changes: &[String], start: &str) -> usize {
    changes.iter().filter(|change| change.starts_with(start)).count()
}

/// Fails and recovers in each way that a lane logs.
fn fail_and_recover(world: &World) {
    let refused = world.collector.fault(Fault::reject_key());
    (0..3).for_each(|_| send(world, "a", 2));
    world.collector.clear_fault(refused);
    (0..3).for_each(|_| send(world, "a", 1));
    let down = world.collector.fault(Fault::status(502));
    (0..6).for_each(|_| send(world, "b", 1));
    world.collector.clear_fault(down);
    (0..3).for_each(|_| send(world, "b", 1));
    let held = world.tenant("a");
    drop(world.registry.tenant("c").expect_err("full"));
    drop(held);
    drop(world.tenant("c"));
}

#[test]
fn each_problem_is_a_change_when_it_starts_and_when_it_ends_as_in_the_log() {
    let world = World::with(&["a", "b", "c"], |builder| {
        builder.export(inline()).pool(Pool {
            max_tracers: Some(1),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let log = Log::with_recoveries();
    with_default(log.clone(), || fail_and_recover(&world));
    let (changes, missed) = world.registry.changes(0);
    let texts: Vec<String> = changes.iter().map(text).collect();
    let origin = world.collector.url();
    assert_eq!(
        texts,
        [
            "problem_began key_refused tenant:a spans: 401".to_owned(),
            format!(
                "problem_began data_dropped unauthorized tenant:a spans: {origin}/opentelemetry/v1/traces answered 401: simulated fault"
            ),
            "problem_ended key_refused tenant:a spans".to_owned(),
            "problem_ended data_dropped unauthorized tenant:a spans".to_owned(),
            format!(
                "problem_began data_dropped retries_exhausted tenant:b spans: {origin}/opentelemetry/v1/traces answered 502: simulated fault"
            ),
            format!(
                "problem_began breaker_open tenant:b spans: {origin}/opentelemetry/v1/traces answered 502: simulated fault"
            ),
            "problem_ended breaker_open tenant:b spans".to_owned(),
            "problem_ended data_dropped retries_exhausted tenant:b spans".to_owned(),
            "problem_began pool_full tenant:c".to_owned(),
            "problem_ended pool_full".to_owned(),
        ]
    );
    let lines = log.lines();
    assert_eq!(lines.len(), changes.len(), "{lines:#?}");
    for (line, change) in lines.iter().zip(&texts) {
        let is_start = line.starts_with("WARN ");
        assert_eq!(is_start, change.starts_with("problem_began"), "{line} {change}");
    }
    let numbers: Vec<u64> = changes.iter().map(|change| change.number).collect();
    assert_eq!((numbers, missed), ((1..=10).collect(), 0));
    assert!(changes.is_sorted_by_key(|change| change.at));
    let endpoints = changes
        .iter()
        .filter(|change| change.endpoint.as_ref() == Some(&origin));
    assert_eq!(endpoints.count(), 8, "all but those of the pool");
    assert!(!format!("{changes:?}").contains("canary"), "a key");
}

#[test]
fn an_unreachable_endpoint_is_one_change_for_all_its_tracers() {
    let closed = "http://127.0.0.1:9";
    let world = World::with(&["a", "b"], |builder| {
        builder
            .export(inline())
            .tenant("a", binding("a").endpoint(closed))
            .tenant("b", binding("b").endpoint(closed))
    });
    for _ in 0..5 {
        send(&world, "a", 1);
        send(&world, "b", 1);
    }
    let (changes, _) = world.registry.changes(0);
    let of_endpoint: Vec<&Change> = changes
        .iter()
        .filter(|change| text(change).contains(" endpoint_unreachable "))
        .collect();
    let [change] = of_endpoint.as_slice() else {
        panic!("{changes:#?}")
    };
    assert_eq!(
        (change.selector.as_ref(), change.endpoint.as_deref()),
        (None, Some(closed))
    );
    assert!(text(change).contains("cannot be reached"), "{change:?}");
}

#[test]
fn a_flapping_problem_is_recorded_once_a_minute() {
    let world = World::with(&["a"], |builder| builder.export(inline()));
    for _ in 0..30 {
        let fault = world.collector.fault(Fault::reject_key());
        send(&world, "a", 1);
        world.collector.clear_fault(fault);
        (0..2).for_each(|_| send(&world, "a", 1));
    }
    let changes = all(&world.registry);
    assert_eq!(changes.len(), 4, "{changes:#?}");
    assert_eq!((has(&changes, "problem_began"), has(&changes, "problem_ended")), (2, 2));
}

#[test]
fn the_problems_of_all_tenants_are_recorded_beyond_the_limit_of_log_lines() {
    let names: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with(&names, |builder| builder.export(inline()));
    let fault = world.collector.fault(Fault::reject_key());
    let flush = || {
        for name in &names {
            world.tenant(name).start_span("span").end();
        }
        drop(world.registry.force_flush(LONG));
    };
    (0..3).for_each(|_| flush());
    let changes = all(&world.registry);
    assert_eq!(has(&changes, "problem_began key_refused"), 100);
    assert_eq!(has(&changes, "problem_began data_dropped unauthorized"), 100);
    assert_eq!(changes.len(), 200, "each once: {changes:#?}");
    world.collector.clear_fault(fault);
    (0..3).for_each(|_| flush());
    let changes = all(&world.registry);
    assert_eq!(has(&changes, "problem_ended key_refused"), 100);
    assert_eq!(has(&changes, "problem_ended data_dropped"), 100);
}

#[test]
fn a_failing_source_and_a_new_key_are_changes() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, key_of("a")).expect("written");
    let world = World::with(&["b"], |builder| {
        builder.tenant("a", Binding::new().api_key(KeySource::file(&file)))
    });
    let tracer = world.tenant("a");
    let await_change = |start: &str| {
        wait_for(start, || all(&world.registry), |changes| has(changes, start) == 1);
    };
    fs::remove_file(&file).expect("removed");
    await_change("problem_began key_source_failing");
    fs::write(&file, key_of("b")).expect("written");
    await_change("problem_ended key_source_failing");
    tracer.start_span("span").end();
    world.flush();
    await_change("key_rotated");
    let changes = all(&world.registry);
    assert_eq!(changes.len(), 3, "{changes:#?}");
    let file = file.to_str().expect("text");
    assert!(changes.iter().all(|change| change.contains(file)), "{changes:#?}");
    assert!(changes[2].ends_with(&tracer.fingerprint().to_string()), "{changes:#?}");
    assert!(!format!("{changes:?}").contains("canary"), "a key");
}

#[test]
fn memory_pressure_is_a_change_until_it_is_relieved() {
    let tenants = ["a", "b", "c", "d"];
    let world = World::with(&tenants, |builder| {
        builder.export(Export {
            max_queue_bytes: Some(1 << 20),
            scheduled_delay: Some(Duration::from_secs(3600)),
            ..quick()
        })
    });
    let hang = world.collector.fault(Fault::hang());
    for name in tenants {
        let tracer = world.tenant(name);
        (0..2_000).for_each(|_| tracer.start_span("a span").end());
    }
    let of_memory = || {
        let changes = all(&world.registry).into_iter();
        changes
            .filter(|change| change.contains("memory_pressure"))
            .collect::<Vec<_>>()
    };
    wait_for("the start", of_memory, |changes| {
        *changes == ["problem_began memory_pressure"]
    });
    world.collector.clear_fault(hang);
    let both = ["problem_began memory_pressure", "problem_ended memory_pressure"];
    wait_for("the end", of_memory, |changes| *changes == both);
}

#[test]
fn a_reload_and_a_refused_reload_are_changes() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("default.toml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    let tenant = |name: &str| format!("[tenants.{name}]\nbackend = \"otlp\"\nendpoint = \"http://127.0.0.1:9\"\n");
    write(&tenant("a"));
    let registry = TracerRegistry::from_config(folder.path()).expect("valid");
    write(&[tenant("a"), tenant("b")].concat());
    registry.reload().expect("valid");
    write("tenants = 1");
    registry.reload().expect_err("invalid");
    let changes = all(&registry);
    assert_eq!(changes.len(), 2, "{changes:#?}");
    assert_eq!(changes[0], "reloaded added: tenant:b");
    assert!(
        changes[1].starts_with("reload_refused the running configuration is kept: "),
        "{changes:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_waits_gets_the_next_change() {
    let World { registry, .. } = World::new(&["a"]);
    let waits = tokio::spawn({
        let registry = registry.clone();
        async move {
            registry.changed(0).await;
            registry.changes(0).0.len()
        }
    });
    registry.reload().expect("nothing to read");
    let found = tokio::time::timeout(AT_ONCE, waits).await.expect("in time");
    assert_eq!(found.expect("no panic"), 1);
}

#[cfg(feature = "gateway")]
#[test]
fn the_program_records_changes_of_its_own() {
    let world = World::new(&["a"]);
    world.registry.record_change("certificates", "read again".to_owned());
    assert_eq!(all(&world.registry), ["program certificates read again"]);
}
