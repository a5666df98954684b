//! What an operator should look at: each rule holds during a real failure, and not after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::secret::SecretError;
use tracer_registry::status::{Attention, Severity};
use tracer_registry::{KeySource, Selector, TracerRegistry};
use tracer_registry_collector::Fault;

use crate::reload::{Files, table};
use crate::support::{LONG, World, assert_shows_nothing_of, binding, key_of, once, wait_for};

/// Sends in a flush only, and each request once.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

fn world(tenants: &[&str]) -> World {
    World::with(tenants, |builder| builder.export(inline()))
}

fn rules(registry: &TracerRegistry) -> Vec<&'static str> {
    registry.attention().iter().map(|attention| attention.rule).collect()
}

fn find(registry: &TracerRegistry, rule: &str) -> Attention {
    let attention = registry.attention();
    let found = attention.iter().find(|attention| attention.rule == rule).cloned();
    found.unwrap_or_else(|| panic!("no {rule}: {attention:?}"))
}

fn names(attention: &Attention) -> Vec<String> {
    attention.tracers.iter().map(ToString::to_string).collect()
}

impl World {
    fn send(&self, tenant: &str) {
        self.tenant(tenant).start_span("span").end();
        drop(self.registry.force_flush(LONG));
    }

    /// Sends until no rule holds.
    fn recover(&self, tenant: &str) {
        let send = || {
            self.send(tenant);
            rules(&self.registry)
        };
        wait_for("nothing to look at", send, Vec::is_empty);
    }
}

#[test]
fn a_refused_key_and_the_loss_that_it_causes_hold_until_data_is_accepted() {
    let world = world(&["a", "b"]);
    let begun = SystemTime::now();
    let refused = world.collector.fault(Fault::status(401).only(key_of("a")));
    for name in ["a", "b"] {
        world.send(name);
    }
    assert_eq!(rules(&world.registry), ["spans_lost", "key_refused"]);
    let attention = find(&world.registry, "key_refused");
    assert_eq!((attention.severity, attention.count), (Severity::Error, 1));
    assert_eq!(
        (names(&attention), &attention.endpoints),
        (vec!["tenant:a".to_owned()], &vec![world.collector.url()])
    );
    let since = attention.since.expect("it is recorded");
    assert!(since <= SystemTime::now() && begun.duration_since(since).unwrap_or_default().as_millis() <= 1);
    assert!(find(&world.registry, "spans_lost").message.ends_with(": unauthorized"));
    assert_shows_nothing_of(&key_of("a"), &format!("{:?}", world.registry.attention()));
    world.collector.clear_fault(refused);
    world.recover("a");
}

#[test]
fn a_failing_key_source_holds_until_it_returns_a_key() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let world = World::with(&["a"], |builder| {
        builder
            .export(inline())
            .secret_source("vault", move |_: &str| {
                if down.load(Ordering::SeqCst) {
                    return Err(SecretError::refused("the vault is sealed"));
                }
                Ok(SecretString::from(key_of("a")))
            })
            .tenant("v", binding("v").api_key(KeySource::provider("vault", "v")))
    });
    world.send("v");
    is_down.store(true, Ordering::SeqCst);
    let refused = world.collector.fault(Fault::status(401).only(key_of("a")));
    world.send("v");
    let attention = find(&world.registry, "key_source_failing");
    assert_eq!(
        (attention.severity, names(&attention)),
        (Severity::Warning, vec!["tenant:v".to_owned()])
    );
    is_down.store(false, Ordering::SeqCst);
    world.collector.clear_fault(refused);
    world.registry.rotate(Selector::tenant("v")).expect("readable");
    world.recover("v");
}

#[test]
fn a_tracer_that_cannot_be_created_holds_with_its_reason_until_a_look_up_succeeds() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let world = World::with(&["a"], |builder| {
        builder
            .export(inline())
            .secret_source("vault", move |_: &str| {
                if down.load(Ordering::SeqCst) {
                    return Err(SecretError::refused("the vault is sealed"));
                }
                Ok(SecretString::from(key_of("a")))
            })
            .tenant("v", binding("v").api_key(KeySource::provider("vault", "v")))
            .tenant("w", binding("w").api_key(KeySource::provider("vault", "w")))
    });
    let registry = &world.registry;
    registry.tenant("v").expect_err("sealed");
    registry.dedicated(Selector::tenant("w")).expect_err("sealed");
    registry.tenant("unknown").expect_err("unknown");
    registry.tenant("No Name").expect_err("invalid");
    let attention = find(registry, "tracer_not_created");
    assert_eq!(
        (
            rules(registry).len(),
            attention.severity,
            attention.count,
            names(&attention)
        ),
        (
            1,
            Severity::Error,
            2,
            vec!["tenant:v".to_owned(), "tenant:w".to_owned()]
        )
    );
    assert!(attention.since.is_some());
    assert!(
        attention.message.contains(": tenant:v: the key cannot be read: "),
        "{attention:?}"
    );
    let error = |tenant: &str| registry.creation_error(Selector::tenant(tenant)).expect("a selector");
    assert!(error("v").is_some_and(|error| error.to_string().contains("the vault is sealed")));
    assert!(error("unknown").is_none() && error("a").is_none());
    is_down.store(false, Ordering::SeqCst);
    registry.tenant("v").expect("readable");
    assert_eq!(names(&find(registry, "tracer_not_created")), ["tenant:w"]);
    registry.tenant("w").expect("readable");
    assert!(rules(registry).is_empty() && error("v").is_none());
}

#[test]
fn open_breakers_hold_until_they_close() {
    let world = World::with(&["a", "b"], |builder| {
        builder
            .tenant("gone", binding("a").endpoint("http://127.0.0.1:1"))
            .export(inline())
    });
    let down = world.collector.fault(Fault::status(503).only(key_of("a")));
    for _ in 0..5 {
        for name in ["a", "b", "gone"] {
            world.send(name);
        }
    }
    assert_eq!(
        rules(&world.registry),
        ["spans_lost", "endpoint_unreachable", "breaker_open"]
    );
    let breaker = find(&world.registry, "breaker_open");
    assert_eq!(
        (breaker.severity, names(&breaker)),
        (Severity::Warning, vec!["tenant:a".to_owned()])
    );
    assert!(breaker.since.is_some());
    let endpoint = find(&world.registry, "endpoint_unreachable");
    assert_eq!(
        (endpoint.endpoints, endpoint.count),
        (vec!["http://127.0.0.1:1".to_owned()], 1)
    );
    assert!(endpoint.since.is_some());
    let lost = find(&world.registry, "spans_lost");
    assert_eq!(
        (names(&lost), lost.count),
        (vec!["tenant:a".to_owned(), "tenant:gone".to_owned()], 2)
    );
    world.collector.clear_fault(down);
    world.registry.remove(Selector::tenant("gone")).expect("a selector");
    // A removed tracer has no breaker, and its loss is still recent.
    let send = || {
        world.send("a");
        let attention = world.registry.attention();
        attention.iter().map(|one| (one.rule, names(one))).collect::<Vec<_>>()
    };
    let gone = [("spans_lost", vec!["tenant:gone".to_owned()])];
    wait_for("the breakers", send, |attention| *attention == gone);
}

#[test]
fn full_queues_and_memory_pressure_hold_until_data_is_sent() {
    let export = Export {
        max_queue_size: Some(10_000),
        max_queue_bytes: Some(1 << 20),
        ..inline()
    };
    let world = World::with(&["a", "b", "c", "d"], |builder| builder.export(export));
    for name in ["a", "b", "c", "d"] {
        let tracer = world.tenant(name);
        while world.status(name).spans.lost() == 0 {
            (0..50).for_each(|_| tracer.start_span("span".repeat(100)).end());
        }
    }
    assert_eq!(rules(&world.registry), ["queue_full", "memory_pressure"]);
    let (full, pressure) = (
        find(&world.registry, "queue_full"),
        find(&world.registry, "memory_pressure"),
    );
    assert_eq!((full.count, pressure.count, pressure.severity), (4, 0, Severity::Error));
    assert!(full.message.ends_with(": queue_full"), "{full:?}");
    let send = || {
        for name in ["a", "b", "c", "d"] {
            world.send(name);
        }
        rules(&world.registry)
    };
    wait_for("nothing to look at", send, Vec::is_empty);
}

#[test]
fn a_full_pool_and_a_refused_configuration_and_a_pause_hold_until_they_end() {
    let text = format!(
        "[pool]\nmax_tracers = 1\nidle_timeout = \"never\"\n{}{}",
        table("a", "a"),
        table("b", "a")
    );
    let files = Files::with(&["a"], &text, |builder| builder);
    let registry = &files.world.registry;
    let held = files.tenant("a");
    assert!(rules(registry).is_empty());
    registry.tenant("b").expect_err("the pool is full");
    assert_eq!(rules(registry), ["tracer_not_created", "pool_full"]);
    assert!(find(registry, "pool_full").since.is_some());
    drop(held);
    drop(files.tenant("b"));
    files.write("default.toml", "[tenants.a]\nsourse = 1\n");
    registry.reload().expect_err("a fault");
    assert_eq!(rules(registry), ["configuration_refused"]);
    assert!(find(registry, "configuration_refused").message.contains("sourse"));
    files.rewrite(&text);
    registry.reload().expect("valid");
    registry.pause(Selector::tenant("a")).expect("configured");
    let paused = find(registry, "paused");
    assert_eq!(
        (rules(registry).len(), paused.severity, paused.count),
        (1, Severity::Notice, 1)
    );
    registry.resume(Selector::tenant("a")).expect("a selector");
    assert!(rules(registry).is_empty());
}

#[test]
fn an_entry_names_the_first_twenty_tracers_and_counts_all() {
    let world = World::with(&["*"], |builder| {
        builder.tenant("*", binding("*")).export(inline()).pool(Pool {
            max_tracers: Some(100),
            idle_timeout: Some(IdleTimeout::Never),
            when_full: None,
        })
    });
    for n in (10..60).rev() {
        world
            .registry
            .pause(Selector::tenant(&format!("t{n}")))
            .expect("configured");
    }
    let paused = find(&world.registry, "paused");
    let first: Vec<String> = (10..30).map(|n| format!("tenant:t{n}")).collect();
    assert_eq!((paused.count, names(&paused)), (50, first));
}
