//! Lists of tracers in pages, and other parts of a status on their own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool};
use tracer_registry::status::{BreakerState, Status, TracerFilter, TracerOrder, TracerQuery, TracerStatus};
use tracer_registry::{Selector, TracerRegistry};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, key_of, once, quick, wait_for};

fn query(adapt: impl FnOnce(&mut TracerQuery)) -> TracerQuery {
    let mut query = TracerQuery::default();
    adapt(&mut query);
    query
}

fn names(tracers: &[TracerStatus]) -> Vec<String> {
    tracers.iter().map(|tracer| tracer.selector.to_string()).collect()
}

/// Sends in a flush only, and each request once.
fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        ..once()
    }
}

#[test]
fn pages_by_selector_repeat_and_miss_no_tracer_while_others_come_and_go() {
    let world = World::with(&["*"], |builder| {
        builder.tenant("*", binding("*")).pool(Pool {
            max_tracers: Some(40),
            idle_timeout: Some(IdleTimeout::After(Duration::from_millis(1))),
            when_full: None,
        })
    });
    let kept: Vec<_> = (0..20).map(|n| world.tenant(&format!("kept-{n}"))).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        for thread in 0..2 {
            let (world, stop) = (&world, &stop);
            threads.spawn(move || {
                for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    // A full pool may refuse it.
                    if let Ok(tracer) = world.registry.tenant(&format!("brief-{thread}-{}", n % 3_000)) {
                        tracer.start_span("span").end();
                    }
                }
            });
        }
        wait_for(
            "an evicted ledger",
            || world.registry.status_without_tracers(),
            |status: &Status| status.evicted_totals.names > 100,
        );
        for limit in [3, 7, 100, 3, 7, 100] {
            let mut query = query(|query| query.limit = limit);
            let mut seen: Vec<Selector> = Vec::new();
            loop {
                let page = world.registry.tracers(&query);
                assert!(page.tracers.len() <= limit);
                seen.extend(page.tracers.iter().map(|tracer| tracer.selector.clone()));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert!(
                seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]),
                "{seen:?}"
            );
            let seen: BTreeSet<Selector> = seen.into_iter().collect();
            assert!(kept.iter().all(|tracer| seen.contains(tracer.selector())));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn only_failing_tracers_are_listed_if_a_query_asks_for_them() {
    let world = World::with(&["down", "good", "no-key"], |builder| {
        builder
            .tenant("none", binding("good").endpoint("http://127.0.0.1:1"))
            .export(inline())
    });
    world.collector.fault(Fault::status(503).only(key_of("down")));
    world.collector.fault(Fault::status(401).only(key_of("no-key")));
    // A breaker opens with the fifth failure.
    for _ in 0..5 {
        for name in ["down", "good", "no-key", "none"] {
            world.tenant(name).start_span("span").end();
        }
        drop(world.registry.force_flush(LONG));
    }
    let list = |only, order| {
        let page = world
            .registry
            .tracers(&query(|query| (query.only, query.order) = (only, order)));
        assert_eq!((page.tracers.len(), page.next), (page.found, None));
        names(&page.tracers)
    };
    let all = ["tenant:down", "tenant:good", "tenant:no-key", "tenant:none"];
    assert_eq!(list(TracerFilter::All, TracerOrder::Selector), all);
    let failing = ["tenant:down", "tenant:no-key", "tenant:none"];
    assert_eq!(list(TracerFilter::Failing, TracerOrder::Selector), failing);
    assert_eq!(list(TracerFilter::All, TracerOrder::Delivered)[0], "tenant:good");

    let endpoints = world.registry.endpoints();
    let shown: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            let is_open = endpoint.breaker.state != BreakerState::Closed;
            (endpoint.endpoint.as_str(), endpoint.tracers, endpoint.failing, is_open)
        })
        .collect();
    let url = world.collector.url();
    let mut expected = vec![("http://127.0.0.1:1", 1, 1, true), (url.as_str(), 3, 2, false)];
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let accepted: Vec<u64> = endpoints.iter().map(|endpoint| endpoint.spans.accepted).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 20, "{endpoints:?}");

    world.collector.clear_faults();
    drop(world.registry.remove(Selector::tenant("none")));
    for name in ["down", "no-key"] {
        let send = || {
            world.tenant(name).start_span("span").end();
            drop(world.registry.force_flush(LONG));
            list(TracerFilter::Failing, TracerOrder::Selector)
        };
        let recovered = format!("tenant:{name}");
        wait_for("a delivery", send, |failing| !failing.contains(&recovered));
    }
    // It lost spans a moment ago.
    assert_eq!(list(TracerFilter::Failing, TracerOrder::Selector), ["tenant:none"]);
    assert_eq!(world.registry.endpoints().len(), 1, "a removed tracer uses no endpoint");
}

#[test]
fn the_status_of_one_tracer_and_of_none_equal_their_parts_of_the_whole() {
    let world = World::with(&["a", "b"], |builder| builder.export(inline()));
    for name in ["a", "b"] {
        world.tenant(name).start_span("span").end();
    }
    let status = world.registry.status();
    let of = |registry: &TracerRegistry, selector: &str| {
        let selector: Selector = selector.parse().expect("a selector");
        registry.tracer_status(selector).expect("valid")
    };
    assert_eq!(of(&world.registry, "tenant:a"), Some(status.tracers[0].clone()));
    assert_eq!(of(&world.registry, "tenant:b"), Some(status.tracers[1].clone()));
    assert_eq!(of(&world.registry, "tenant:unknown"), None);
    assert!(world.registry.tracer_status(Selector::tenant("A b")).is_err());
    let mut without = status;
    without.tracers.clear();
    assert_eq!(world.registry.status_without_tracers(), without);
}

#[test]
fn a_query_finds_parts_of_any_selector() {
    let world = World::with(&["acme", "acme-2", "other"], |builder| {
        builder.environment("prod", binding("acme")).export(quick())
    });
    for name in ["acme", "acme-2", "other"] {
        world.tenant(name);
    }
    world
        .registry
        .get(Selector::tenant("acme").environment("prod"))
        .expect("configured");
    let found = |text: &str| {
        let page = world
            .registry
            .tracers(&query(|query| text.clone_into(&mut query.contains)));
        names(&page.tracers)
    };
    assert_eq!(
        found("acme"),
        ["tenant:acme", "tenant:acme-2", "environment:prod,tenant:acme"]
    );
    assert_eq!(found("prod,"), ["environment:prod,tenant:acme"]);
    assert_eq!(found("-2"), ["tenant:acme-2"]);
    assert!(found("ACME").is_empty() && found("\u{0}").is_empty());
}
