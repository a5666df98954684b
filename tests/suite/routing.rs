//! The routing provider: instrumentation without tenants uses the tracer of the scope.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, TraceContextExt, Tracer, TracerProvider};
use tracer_registry::config::Binding;
use tracer_registry::integrations::RoutingProvider;
use tracer_registry::secret::{SecretError, SecretString};
use tracer_registry::status::UnroutedStatus;
use tracer_registry::{KeySource, Selector, TracerHandle, TracerRegistry};

use crate::log::Log;
use crate::support::{World, collector, key_of, quick, wait_for};

/// Asserts that each span is the parent of the next, and the first is a root.
pub(crate) fn assert_chain(world: &World, tenant: &str, names: &[&str]) {
    let spans: Vec<_> = names.iter().map(|name| world.span(tenant, name)).collect();
    assert_eq!(spans[0].parent_span_id, None, "{}", world.project(tenant).tree());
    for pair in spans.windows(2) {
        assert_eq!(
            pair[1].parent_span_id.as_ref(),
            Some(&pair[0].span_id),
            "{}",
            world.project(tenant).tree()
        );
        assert_eq!(pair[1].trace_id, pair[0].trace_id);
    }
}

fn driver(provider: &RoutingProvider) {
    let tracer = provider.tracer("driver");
    tracer.in_span("connect", |_| tracer.start("query").end());
}

#[test]
fn instrumentation_with_the_routing_provider_follows_the_scope() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let routing = world.registry.routing_provider();
    a.in_span("a", |_| {
        driver(&routing);
        b.in_span("b", |_| driver(&routing));
    });
    world.flush();
    assert_chain(&world, "a", &["a", "connect", "query"]);
    assert_chain(&world, "b", &["b", "connect", "query"]);
    assert_eq!(world.span("b", "query").scope.name, "driver");
    assert_eq!(routing.unrouted(), 0);
}

#[test]
fn spans_outside_any_scope_go_to_the_configured_default_or_are_dropped_and_counted() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    let without_default = world.registry.routing_provider();
    driver(&without_default);
    assert_eq!(world.registry.status().unrouted.spans, 2);
    // A current span of a tracer is no scope.
    let by_hand = Context::current_with_span(a.start_span("by hand")).attach();
    driver(&without_default);
    drop(by_hand);
    assert_eq!(without_default.unrouted(), 4);
    world.flush();
    assert_chain(&world, "a", &["by hand"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (1, 0));

    let world = World::with(&["a", "b"], |builder| builder.routing_default(&Selector::tenant("b")));
    let default = world.registry.routing_provider();
    world.tenant("b");
    driver(&default);
    world.tenant("a").in_span("a", |_| driver(&default));
    assert_eq!(world.registry.status().unrouted, UnroutedStatus::default());
    world.flush();
    assert_chain(&world, "b", &["connect", "query"]);
    assert_chain(&world, "a", &["a", "connect", "query"]);
    assert_eq!((world.names("a").len(), world.names("b").len()), (3, 2));
}

fn write_default(folder: &Path, url: &str, default: &str) {
    let environment = |name: &str| {
        fs::write(folder.join(name), key_of(name)).expect("written");
        format!("[environments.{name}]\napi_key = {{ file = \"{name}\" }}\n")
    };
    let text = format!(
        "[defaults]\nendpoint = \"{url}\"\n{}{}[routing]\ndefault = {{ environment = \"{default}\" }}\n",
        environment("a"),
        environment("b"),
    );
    fs::write(folder.join("default.toml"), text).expect("written");
}

#[test]
fn the_routing_default_is_looked_up_for_each_span() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = collector(&["a", "b"], &tracer_registry::secret::Fingerprinter::new()).start();
    let collector = collector.expect("a free port");
    write_default(folder.path(), &collector.url(), "a");
    let registry = TracerRegistry::from_config(folder.path()).expect("valid");
    let world = World { registry, collector };
    let driver = world.registry.routing_provider().tracer("driver");
    let default = world.registry.environment("a").expect("configured");
    driver.start("to a").end();
    assert!(world.registry.remove(default.selector()).expect("a selector"));
    world.registry.environment("a").expect("configured");
    driver.start("to another a").end();
    assert!(
        !world
            .registry
            .environment("a")
            .expect("configured")
            .same_tracer(&default)
    );
    assert_eq!(world.registry.status().tracers[0].spans.accepted, 2);
    assert_eq!(
        world.registry.status().tracers[0].tracers,
        2,
        "only the test keeps the old tracer alive"
    );
    drop(default);

    write_default(folder.path(), &world.collector.url(), "b");
    let report = world.registry.reload().expect("valid");
    assert!(report.routing_default && report.changed.is_empty(), "{report:?}");
    assert_eq!(report.to_string(), "spans outside any scope go elsewhere");
    world.registry.environment("b").expect("configured");
    driver.start("to b").end();
    world.flush();
    assert_eq!(world.registry.status().unrouted.spans, 0);
    assert_eq!(world.names("a").len(), 2);
    assert_eq!(world.names("b"), ["to b"]);
}

#[test]
fn a_default_that_cannot_be_resolved_has_no_substitute_and_is_rarely_retried() {
    let (reads, available) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_available) = (Arc::clone(&reads), Arc::clone(&available));
    let source = move |name: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        if is_available.load(Ordering::SeqCst) {
            Ok(SecretString::from(key_of(name)))
        } else {
            Err(SecretError::refused("not yet"))
        }
    };
    let world = World::with(&["a", "b"], |builder| {
        builder
            .secret_source("later", source)
            .tenant("b", Binding::new().api_key(KeySource::provider("later", "b")))
            .routing_default(&Selector::tenant("b"))
            .export(quick())
    });
    let a = world.tenant("a");
    let driver = world.registry.routing_provider().tracer("driver");
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        for _ in 0..100 {
            driver.start("nowhere").end();
        }
        a.in_span("a", |_| driver.start("query").end());
    });
    assert_eq!(world.registry.status().unrouted.spans, 100);
    wait_for("the warning", || log.lines(), |lines| !lines.is_empty());
    assert_eq!(
        (reads.load(Ordering::SeqCst), log.lines().len()),
        (1, 1),
        "{:?}",
        log.lines()
    );
    assert!(log.lines()[0].contains("tenant:b") && log.lines()[0].contains("not yet"));
    // The default is used once its key is available.
    available.store(true, Ordering::SeqCst);
    let sampled = || {
        let mut span = driver.start("somewhere");
        span.end();
        span.span_context().is_sampled()
    };
    wait_for("the default", sampled, |sampled| *sampled);
    world.flush();
    assert_eq!(world.names("b"), ["somewhere"]);
    assert_chain(&world, "a", &["a", "query"]);
    assert_eq!(world.names("a").len(), 2);
}

#[test]
fn a_secret_source_with_instrumented_threads_does_not_deadlock_the_default() {
    let (route, routed) = std::sync::mpsc::channel::<RoutingProvider>();
    let routed = std::sync::Mutex::new(routed);
    // Like a client with its own threads: its spans are in no scope.
    let source = move |name: &str| {
        let routing = routed.lock().expect("not poisoned").recv().expect("sent");
        let client = std::thread::spawn(move || routing.tracer("client").start("fetch the key").end());
        client.join().expect("no panic");
        Ok(SecretString::from(key_of(name)))
    };
    let world = World::with(&["a"], |builder| {
        builder
            .secret_source("instrumented", source)
            .tenant("b", Binding::new().api_key(KeySource::provider("instrumented", "a")))
            .routing_default(&Selector::tenant("b"))
    });
    let routing = world.registry.routing_provider();
    route.send(routing.clone()).expect("the source receives it");
    // Spans that start while the default is created do not block either.
    let mut started = 0;
    let start = || {
        started += 1;
        let mut span = routing.tracer("driver").start("driven");
        span.end();
        span.span_context().is_sampled()
    };
    wait_for("the default", start, |recorded| *recorded);
    world.flush();
    let unrouted = world.registry.status().unrouted.spans;
    let recorded = world.status("b").spans.accepted;
    assert!(unrouted >= 1 && recorded >= 1, "{unrouted}, {recorded}");
    assert_eq!(unrouted + recorded, started + 1);
}

#[test]
fn a_routing_provider_without_its_registry_drops_and_counts_spans() {
    let world = World::with(&["a"], |builder| builder.routing_default(&Selector::tenant("a")));
    let (a, routing) = (world.tenant("a"), world.registry.routing_provider());
    // The tracer exists, so the first span is recorded.
    driver(&routing);
    assert_eq!(routing.unrouted(), 0);
    assert!(world.registry.shutdown(crate::support::LONG).is_complete());
    driver(&routing);
    a.in_span("a", |_| driver(&routing));
    assert_eq!(world.registry.status().unrouted.spans, 2);
    assert_eq!(
        world.status("a").spans.accepted,
        5,
        "spans of the scope are in the ledger of its tracer"
    );
    drop(world.registry);
    driver(&routing);
    a.in_span("a", |_| driver(&routing));
    assert_eq!(routing.unrouted(), 4);
    let collector = world.collector;
    assert_eq!(collector.project("a").expect("named").spans().len(), 2);
}

#[test]
fn an_explicit_context_takes_precedence_over_the_current_one() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let routing = world.registry.routing_provider();
    let tracer = routing.tracer("t");
    let context_of_a = a.in_span("a", |span| span.context().clone());
    let in_b = |tracer_of_b: &TracerHandle| {
        tracer_of_b.in_span("b", |_| {
            tracer.start_with_context("given", &context_of_a).end();
            tracer.start_with_context("root", &Context::new()).end();
        });
    };
    in_b(&b);
    world.flush();
    assert_chain(&world, "a", &["a", "given"]);
    assert_eq!(world.span("b", "root").parent_span_id, None);
}

#[test]
fn a_routed_span_is_found_under_another_tracers_span_attached_by_hand() {
    let world = World::new(&["a", "b"]);
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let driver = world.registry.routing_provider().tracer("driver");
    let in_a = a.enter();
    driver.in_span("routed", |_| {
        let over = Context::current_with_span(b.start_span("b over it")).attach();
        a.start_span("a within").end();
        drop(over);
    });
    drop(in_a);
    world.flush();
    assert_chain(&world, "a", &["routed", "a within"]);
    assert_chain(&world, "b", &["b over it"]);
}
