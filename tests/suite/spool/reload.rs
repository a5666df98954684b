//! Rows belong to their selector: they are sent under the binding in force when they are sent.

use std::time::Instant;

use opentelemetry::trace::Span as _;
use tracer_registry::config::Config;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{LookupError, TracerRegistry};
use tracer_registry_collector::Fault;

use super::{names, status, wait_until_delivered, wait_until_spooled};
use crate::reload::{Files, table};
use crate::support::{AT_ONCE, key_of, keys, wait_for};

const SPOOL: &str = "[spool]\nmode = \"through\"\npath = \"spool\"\nmax_bytes = \"64MiB\"\n\
     [export.retry]\ninitial_backoff = \"5ms\"\nmax_backoff = \"20ms\"\nmax_elapsed = \"200ms\"\n";

/// Ends spans of a tenant with a handle that outlives the changes.
fn end_spans(files: &Files, tenant: &str, names: &[String]) -> tracer_registry::TracerHandle {
    let tracer = files.tenant(tenant);
    for name in names {
        tracer.start_span(name.clone()).end();
    }
    tracer
}

#[test]
fn what_waits_on_disk_is_sent_with_the_key_project_and_endpoint_of_a_reload() {
    let of = |key: &str, rest: &str| {
        let project = format!("backend = \"phoenix\"\nproject = \"{key}-project\"\n");
        SPOOL.to_owned() + &table("acme", key) + &project + rest
    };
    let files = Files::new(&["old", "new"], &of("old", "endpoint = \"http://127.31.9.1:9\"\n"));
    let expected = names("span", 40);
    let held = end_spans(&files, "acme", &expected);
    let registry = &files.world.registry;
    wait_until_spooled(registry, "acme", 40);

    let endpoint = format!("endpoint = \"{}\"\n", files.world.collector.url());
    files.rewrite(&of("new", &endpoint));
    let began = Instant::now();
    registry.reload().expect("valid");
    // No look-up creates the next tracer: the handle keeps the old one.
    let received = wait_for("all spans", || files.world.names("new"), |names| names.len() >= 40);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(received, expected);
    assert!(files.world.names("old").is_empty());
    for span in files.world.project("new").spans() {
        assert_eq!(span.resource.attributes["openinference.project.name"], "new-project");
    }
    wait_until_delivered(registry, "acme");
    drop(held);
}

#[test]
fn a_reload_between_two_processes_counts_too() {
    let of = |key: &str| SPOOL.to_owned() + &table("acme", key);
    let files = Files::new(&["old", "new"], &of("old"));
    let fault = files.world.collector.fault(Fault::status(503));
    let expected = names("span", 40);
    drop(end_spans(&files, "acme", &expected));
    let files = restart(files, &of("new"));
    files.world.collector.clear_fault(fault);
    let poll = || files.world.names("new");
    let received = wait_for("all spans", poll, |names| names.len() >= 40);
    assert_eq!((received, files.world.names("old").len()), (expected, 0));
}

#[test]
fn rows_without_a_binding_wait_until_a_reload_adds_one() {
    let with = |tenants: &str| SPOOL.to_owned() + &table("other", "other") + tenants;
    let acme = table("acme", "acme");
    let files = Files::new(&["acme", "other"], &with(&acme));
    let fault = files.world.collector.fault(Fault::status(503).only(key_of("acme")));
    let expected = names("span", 5);
    drop(end_spans(&files, "acme", &expected));
    let files = restart(files, &with(""));
    files.world.collector.clear_fault(fault);
    let registry = &files.world.registry;
    wait_until_spooled(registry, "acme", 5);
    let age = || status(registry, "acme").and_then(|status| status.oldest_spooled);
    let oldest = wait_for("its age", age, Option::is_some);
    assert_eq!(registry.status().spool.expect("a spool").oldest, oldest);
    let error = registry.tenant("acme").expect_err("without a binding");
    assert!(error.is_unknown(), "{error}");
    // It does not keep others from sending.
    drop(end_spans(&files, "other", &names("other", 1)));
    wait_for("the other", || files.world.names("other"), |names| names.len() == 1);
    assert_eq!(status(registry, "acme").expect("recovered").spans.spooled, 5);

    files.rewrite(&with(&acme));
    let began = Instant::now();
    registry.reload().expect("valid");
    let received = wait_for("all spans", || files.world.names("acme"), |names| names.len() >= 5);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(received, expected);
    assert_eq!(wait_until_delivered(registry, "acme").recovered, 5);
}

#[test]
fn removing_a_tracer_sends_what_is_on_disk_with_the_next_one() {
    let of = SPOOL.to_owned() + &table("acme", "acme");
    let files = Files::new(&["acme"], &of);
    let fault = files.world.collector.fault(Fault::status(503));
    let expected = names("span", 20);
    let held = end_spans(&files, "acme", &expected);
    let registry = &files.world.registry;
    wait_until_spooled(registry, "acme", 20);
    assert!(registry.remove(held.selector()).expect("a selector"));
    // Nothing looks the tenant up: the rows need another tracer than the one that is held.
    let tracers = || status(registry, "acme").map(|status| status.tracers);
    wait_for("the next tracer", tracers, |tracers| *tracers == Some(2));
    files.world.collector.clear_fault(fault);
    let received = wait_for("all spans", || files.world.names("acme"), |names| names.len() >= 20);
    assert_eq!(received, expected);
    let next: Result<_, LookupError> = registry.tenant("acme");
    assert!(!next.expect("configured").same_tracer(&held));
}

/// Shuts the registry down, and starts one with another configuration.
fn restart(files: Files, text: &str) -> Files {
    let report = files.world.registry.shutdown(std::time::Duration::from_secs(4));
    assert!(report.is_complete(), "{report:#?}");
    files.rewrite(text);
    let Files { folder, mut world } = files;
    let fingerprinter = Fingerprinter::new();
    let config = Config::load(folder.path().join("default.toml")).expect("valid");
    let builder = TracerRegistry::builder().config(config).fingerprinter(fingerprinter);
    world.registry = builder
        .secret_source("test", keys())
        .build()
        .expect("the folder is free");
    Files { folder, world }
}
