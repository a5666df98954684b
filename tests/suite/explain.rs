//! What happened to a trace of the program: each outcome is recorded under the tracer of the span,
//! and the counts of a trace add up.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{Span as _, TraceContextExt as _, TraceId};
use serde_json::json;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{Explain, Export, ExportMode};
use tracer_registry::status::{DropReason, TraceFate};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, once, quick, wait_for};

/// Turns `explain` on.
pub(crate) fn explaining(export: Export) -> Export {
    Export {
        explain: Explain {
            max_traces: Some(100_000),
            keep: None,
        },
        ..export
    }
}

/// Sends only on a flush.
pub(crate) fn on_flush_only(export: Export) -> Export {
    explaining(Export {
        mode: Some(ExportMode::Inline),
        ..export
    })
}

fn world(tenants: &[&str], export: Export) -> World {
    World::with(tenants, |builder| builder.export(export))
}

/// Returns what happened to a trace, by tenant. Asserts that each count adds up.
pub(crate) fn fates(registry: &TracerRegistry, trace: TraceId) -> BTreeMap<String, TraceFate> {
    let explained = registry.explain(trace).expect("turned on");
    assert_eq!(
        (explained.more_selectors, explained.kept),
        (0, Duration::from_secs(600))
    );
    let fates = explained.selectors.into_iter().map(|fate| {
        let settled = fate.delivered + fate.unclear + fate.dropped.values().sum::<u64>();
        assert_eq!(fate.accepted, settled + fate.pending, "{fate:?}");
        let answers: u64 = fate.answers.iter().map(|answer| answer.count).sum();
        assert_eq!(fate.attempts, answers, "{fate:?}");
        assert!(fate.first <= fate.last, "{fate:?}");
        (fate.selector.to_string(), fate)
    });
    fates.collect()
}

/// Returns what happened to a trace that one tenant has.
pub(crate) fn fate(registry: &TracerRegistry, trace: TraceId) -> TraceFate {
    let fates = fates(registry, trace);
    assert_eq!(fates.len(), 1, "{fates:?}");
    fates.into_values().next().expect("one")
}

pub(crate) fn answers(fate: &TraceFate) -> Vec<(&str, u64)> {
    let answers = fate.answers.iter();
    answers.map(|answer| (&*answer.answer, answer.count)).collect()
}

/// Ends a span of each name in one trace. Returns the trace.
fn trace(world: &World, tenant: &str, names: &[&str]) -> TraceId {
    let tracer = world.tenant(tenant);
    tracer.in_span(names[0].to_owned(), |span| {
        for name in &names[1..] {
            tracer.in_span((*name).to_owned(), |_| ());
        }
        span.context().span().span_context().trace_id()
    })
}

#[test]
fn a_delivered_trace_is_explained_and_another_one_is_unknown() {
    let world = world(&["a"], on_flush_only(quick()));
    let id = trace(&world, "a", &["1", "2", "3"]);
    let before = fate(&world.registry, id);
    assert_eq!((before.accepted, before.pending, before.batches), (3, 3, 0));
    world.flush();
    let fate = fate(&world.registry, id);
    assert_eq!((fate.accepted, fate.delivered, fate.pending), (3, 3, 0));
    assert_eq!((fate.batches, fate.attempts, answers(&fate)), (1, 1, vec![("200", 1)]));
    assert_eq!((fate.caller, fate.sampled_out, fate.refused), (None, 0, 0));
    assert!(fates(&world.registry, TraceId::from(1)).is_empty());
    let json = serde_json::to_value(world.registry.explain(id)).expect("serializable");
    assert_eq!((&json["kept"], &json["more_selectors"]), (&json!("10m"), &json!(0)));
    let shown = &json["selectors"][0];
    assert_eq!(shown["selector"], "tenant:a");
    assert_eq!(shown["answers"], json!([{ "answer": "200", "count": 1 }]));
    assert!(
        shown["first"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{shown}"
    );
}

#[test]
fn nothing_is_explained_unless_it_is_turned_on() {
    let world = World::new(&["a"]);
    let id = trace(&world, "a", &["1"]);
    assert_eq!(world.registry.explain(id), None);
}

#[test]
fn a_trace_that_is_not_sampled_is_counted_as_such() {
    let world = World::with(&["a"], |builder| {
        let sampled = binding("a").sampling_ratio(0.0);
        builder.export(on_flush_only(quick())).tenant("a", sampled)
    });
    let id = trace(&world, "a", &["1", "2"]);
    world.flush();
    let fate = fate(&world.registry, id);
    assert_eq!((fate.sampled_out, fate.accepted, fate.attempts), (2, 0, 0));
}

#[test]
fn a_refused_span_is_told_from_the_delivered_ones_of_its_trace() {
    for (status, reason, code) in [(400, DropReason::Refused, "400"), (413, DropReason::TooLarge, "413")] {
        let world = world(&["a"], on_flush_only(quick()));
        world
            .collector
            .fault(Fault::status(status).when_body_contains("poison"));
        let id = trace(&world, "a", &["1", "2", "poison", "4"]);
        drop(world.registry.force_flush(LONG));
        let fate = fate(&world.registry, id);
        assert_eq!((fate.accepted, fate.delivered, fate.batches), (4, 3, 1));
        assert_eq!(fate.dropped, [(reason, 1)].into());
        // The batch, its half and the span are refused, and the other parts are delivered.
        assert!(answers(&fate).contains(&(code, 3)), "{fate:?}");
    }
}

#[test]
fn a_span_that_the_receiver_fails_on_is_dropped_alone() {
    let world = world(&["a"], on_flush_only(quick()));
    world.collector.fault(Fault::status(500).when_body_contains("poison"));
    let id = trace(&world, "a", &["1", "2", "poison", "4"]);
    drop(world.registry.force_flush(LONG));
    let fate = fate(&world.registry, id);
    assert_eq!((fate.delivered, fate.dropped), (3, [(DropReason::Refused, 1)].into()));
}

#[test]
fn a_batch_that_is_refused_as_a_whole_is_dropped_with_all_its_traces() {
    let world = world(&["a"], on_flush_only(quick()));
    world.collector.fault(Fault::redirect("http://127.0.0.1:9/elsewhere"));
    let ids = ["1", "2"].map(|name| trace(&world, "a", &[name]));
    drop(world.registry.force_flush(LONG));
    for id in ids {
        let fate = fate(&world.registry, id);
        assert_eq!(fate.dropped, [(DropReason::Refused, 1)].into());
        assert_eq!((answers(&fate), fate.pending), (vec![("307", 1)], 0));
    }
}

#[test]
fn retries_are_counted_by_answer() {
    let world = world(&["a"], on_flush_only(quick()));
    world.collector.fault(Fault::status(503).times(2));
    world.collector.fault(Fault::reset().times(1));
    let id = trace(&world, "a", &["1", "2"]);
    world.flush();
    let fate = fate(&world.registry, id);
    assert_eq!((fate.delivered, fate.batches, fate.attempts), (2, 1, 4));
    let mut answers = answers(&fate);
    answers.sort_unstable();
    assert_eq!(answers, [("200", 1), ("503", 2), ("none", 1)]);
}

#[test]
fn an_expired_trace_is_dropped_also_if_it_was_never_sent() {
    let mut export = Export {
        max_export_batch_size: Some(1),
        ..quick()
    };
    export.retry.max_elapsed = Some(Duration::from_millis(300));
    let world = world(&["a"], explaining(export));
    world.collector.fault(Fault::status(503));
    // The first batch is retried until it expires, and the others expire in the queue.
    let traces = ["1", "2", "3", "4"].map(|name| trace(&world, "a", &[name]));
    let seen = traces.map(|id| {
        let last = || fate(&world.registry, id);
        wait_for("an outcome", last, |fate| fate.pending == 0)
    });
    for fate in &seen {
        assert_eq!(fate.dropped, [(DropReason::RetriesExhausted, 1)].into(), "{fate:?}");
    }
    assert!(
        seen[0].attempts > 1 && answers(&seen[0]) == [("503", seen[0].attempts)],
        "{seen:?}"
    );
    assert_eq!((seen[3].attempts, seen[3].batches), (0, 0), "{seen:?}");
}

#[test]
fn a_refused_key_drops_the_trace_as_unauthorized() {
    let world = world(&["a"], on_flush_only(once()));
    world.collector.fault(Fault::status(401));
    let id = trace(&world, "a", &["1"]);
    drop(world.registry.force_flush(LONG));
    let fate = fate(&world.registry, id);
    assert_eq!(fate.dropped, [(DropReason::Unauthorized, 1)].into());
    assert!(answers(&fate).iter().all(|(code, _)| *code == "401"), "{fate:?}");
}

#[test]
fn a_span_without_room_is_dropped_at_once() {
    let export = Export {
        max_queue_size: Some(2),
        ..quick()
    };
    let world = world(&["a"], on_flush_only(export));
    let id = trace(&world, "a", &["1", "2", "3"]);
    let full = fate(&world.registry, id);
    assert_eq!((full.accepted, full.pending), (3, 2));
    assert_eq!(full.dropped, [(DropReason::QueueFull, 1)].into());
    drop(world.registry.force_flush(LONG));
    assert_eq!(fate(&world.registry, id).delivered, 2);
}

#[test]
fn a_partial_success_leaves_the_spans_of_the_request_unclear() {
    for (rejected, unclear, dropped) in [(1, 3, 0), (3, 0, 3)] {
        let world = world(&["a"], on_flush_only(quick()));
        world.collector.fault(Fault::partial_success(rejected).times(1));
        let id = trace(&world, "a", &["1", "2", "3"]);
        drop(world.registry.force_flush(LONG));
        let fate = fate(&world.registry, id);
        assert_eq!((fate.delivered, fate.unclear), (0, unclear));
        let lost = fate.dropped.get(&DropReason::Rejected).copied();
        assert_eq!(lost.unwrap_or_default(), dropped);
    }
}

#[test]
fn a_span_that_ends_after_the_shutdown_is_dropped() {
    let world = world(&["a"], explaining(quick()));
    let mut span = world.tenant("a").start_span("late");
    let id = span.span_context().trace_id();
    assert!(world.registry.shutdown(LONG).is_complete());
    span.end();
    assert_eq!(
        fate(&world.registry, id).dropped,
        [(DropReason::AfterShutdown, 1)].into()
    );
}

#[test]
fn the_counts_of_all_traces_add_up_to_the_ledger() {
    let export = Export {
        max_queue_size: Some(64),
        max_export_batch_size: Some(16),
        ..quick()
    };
    let world = world(&["a", "b"], explaining(export));
    world.collector.fault(Fault::status(400).when_body_contains("poison"));
    world.collector.fault(Fault::status(503).times(5));
    let traces: Vec<(&str, TraceId)> = thread::scope(|threads| {
        let work = |thread: usize| {
            let world = &world;
            let one = move |n: usize| {
                let tenant = if n.is_multiple_of(3) { "b" } else { "a" };
                let name = if n % 40 == 7 { "poison" } else { "fine" };
                (tenant, trace(world, tenant, &[name, "child"][..=thread % 2]))
            };
            threads.spawn(move || (0..200).map(one).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..4).map(work).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    drop(world.registry.force_flush(LONG));
    for tenant in ["a", "b"] {
        let ledger = world.status(tenant).spans;
        let (mut accepted, mut delivered, mut dropped) = (0, 0, BTreeMap::new());
        for (_, id) in traces.iter().filter(|(of, _)| *of == tenant) {
            let fate = fate(&world.registry, *id);
            assert_eq!(
                (fate.selector.to_string(), fate.pending),
                (format!("tenant:{tenant}"), 0)
            );
            accepted += fate.accepted;
            delivered += fate.delivered;
            for (reason, count) in fate.dropped {
                *dropped.entry(reason).or_default() += count;
            }
        }
        assert!(ledger.lost() > 0);
        assert_eq!(
            (accepted, delivered, dropped),
            (ledger.accepted, ledger.delivered, ledger.dropped)
        );
    }
}
