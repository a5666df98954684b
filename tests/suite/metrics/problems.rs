//! Metrics of problems, of the duration of requests, and of the registry as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{Binding, Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::{KeySource, Selector};
use tracer_registry_collector::Fault;

use super::reader::{Reader, Reading};
use super::{CONFIGURATION_FAILING, EVICTED, GROWN, POOL_LIMIT, REJECTED, RELOADS, bounded};
use crate::support::{LONG, World, key_of, once, quick, wait_for};

const FAILING: &str = "tracer_registry.tracer.failing";
const PAUSED: &str = "tracer_registry.tracer.paused";
const ENDPOINTS_FAILING: &str = "tracer_registry.endpoint.failing";
const DURATION: &str = "otel.sdk.exporter.operation.duration";

fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

fn send(world: &World, tenant: &str) {
    world.tenant(tenant).start_span("span").end();
    drop(world.registry.force_flush(LONG));
}

#[test]
fn each_finished_request_has_a_duration_by_server_and_error() {
    let world = World::with(&["a", "b"], |builder| builder.export(inline()));
    send(&world, "a");
    let (one, other) = (Reader::of(&world.registry), Reader::of(&world.registry));
    (0..3).for_each(|_| send(&world, "a"));
    world.collector.fault(Fault::status(400).times(1));
    send(&world, "b");
    let url = world.collector.url();
    let port = url.rsplit(':').next().expect("a port").to_owned();
    let server = [("server.address", "127.0.0.1".to_owned()), ("server.port", port)];
    for reader in [one, other] {
        let durations = reader.read().histograms;
        let of = |error: Option<&str>| {
            let error = error.map(|error| ("error.type", error.to_owned())).into_iter();
            let attributes = server.iter().cloned().chain(error);
            let attributes = attributes.map(|(key, value)| (key.to_owned(), value)).collect();
            durations.get(&(DURATION.to_owned(), attributes)).copied()
        };
        let expected = (Some(3), Some(1), 2);
        assert_eq!(
            (of(None), of(Some("refused")), durations.len()),
            expected,
            "{durations:#?}"
        );
    }
}

#[test]
fn problems_of_tracers_are_reported_until_they_end() {
    for max_tracers in [0, 100] {
        let world = World::with(&["a", "b"], |builder| {
            builder.export(inline()).metrics(bounded(max_tracers))
        });
        let reader = Reader::of(&world.registry);
        let failing = |reading: &Reading, error: &str| {
            reading.sum(FAILING, |of| of.get("error.type").is_some_and(|is| is == error))
        };
        let refused = world.collector.fault(Fault::reject_key());
        send(&world, "a");
        send(&world, "b");
        let reading = reader.read();
        assert_eq!(failing(&reading, "key_refused"), 2, "{reading:#?}");
        assert_eq!(reading.named().len(), if max_tracers == 0 { 0 } else { 2 });
        world.collector.clear_fault(refused);
        let down = world.collector.fault(Fault::status(502));
        (0..5).for_each(|_| send(&world, "b"));
        let reading = reader.read();
        assert_eq!(failing(&reading, "breaker_open"), 1, "{reading:#?}");
        world.collector.clear_fault(down);
        send(&world, "a");
        send(&world, "b");
        let reading = reader.read();
        assert_eq!((reading.all(FAILING), reading.all(PAUSED)), (0, 0), "{reading:#?}");
        world.registry.pause(Selector::tenant("a")).expect("known");
        assert_eq!(reader.read().all(PAUSED), 1);
        world.registry.resume(Selector::tenant("a")).expect("known");
        assert_eq!(reader.read().all(PAUSED), 0);
    }
}

#[test]
fn a_failing_key_source_and_an_unreachable_endpoint_are_reported() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, key_of("a")).expect("written");
    let world = World::with(&[], |builder| {
        let closed = Binding::new().endpoint("http://127.0.0.1:9");
        let key = KeySource::file(&file);
        builder.export(quick()).tenant("a", closed.api_key(key))
    });
    let reader = Reader::of(&world.registry);
    let tracer = world.tenant("a");
    assert_eq!(
        (reader.read().all(FAILING), reader.read().all(ENDPOINTS_FAILING)),
        (0, 0)
    );
    fs::remove_file(&file).expect("removed");
    (0..20).for_each(|_| tracer.start_span("span").end());
    let reading = wait_for(
        "both problems",
        || reader.read(),
        |reading| reading.all(FAILING) > 0 && reading.all(ENDPOINTS_FAILING) > 0,
    );
    let is_of_source = |of: &BTreeMap<String, String>| of["error.type"] == "key_source";
    assert_eq!(reading.sum(FAILING, is_of_source), 1, "{reading:#?}");
    let is_closed = |of: &BTreeMap<String, String>| of["server.address"] == "127.0.0.1" && of["server.port"] == "9";
    assert_eq!(reading.sum(ENDPOINTS_FAILING, is_closed), 1, "{reading:#?}");
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn the_pool_and_the_configuration_are_reported_once_for_the_registry() {
    let world = World::with(&["a", "b"], |builder| {
        builder.export(inline()).pool(Pool {
            max_tracers: Some(1),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    let reader = Reader::of(&world.registry);
    let held = world.tenant("a");
    world.registry.tenant("b").expect_err("full");
    drop(held);
    drop(world.tenant("b"));
    world.registry.reload().expect("valid");
    let reading = reader.read();
    let pool = [POOL_LIMIT, REJECTED, EVICTED, GROWN].map(|name| reading.all(name));
    assert_eq!(pool, [1, 1, 1, 0], "{reading:#?}");
    assert_eq!((reading.all(RELOADS), reading.all(CONFIGURATION_FAILING)), (1, 0));
}
