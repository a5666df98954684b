//! Copies of what clients of the gateway send.

use std::time::Duration;

use tracer_registry::config::{Export, Limits, Protocol};
use tracer_registry::ingest::{Accepted, IngestError, SessionCall, SessionRequest, Traces};
use tracer_registry::status::DropReason;
use tracer_registry::{RegistryBuilder, TracerRegistry};
use tracer_registry_collector::Fault;

use super::{OPERATIONS, assert_delivered, ledger_of, operations, plain, plain_world, status_of};
use crate::ingest::request::{attribute, checked, request, spans, traces};
use crate::ingest::{compressed, now};
use crate::support::{World, binding, key_of, quick, wait_for};

fn world_with(adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    plain_world(&["a", "b", "ops"], |builder| {
        let builder = builder
            .tenant("a", binding("a").also(&operations()))
            .tenant("b", binding("b"))
            .environment("operations", binding("ops"));
        adapt(builder)
    })
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("span {number}")).collect()
}

fn traces_of(count: usize) -> Traces {
    let names = names(count);
    traces(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_request_arrives_in_both_projects_as_it_was_sent() {
    let world = world_with(|builder| builder);
    let (sent, _) = compressed(&["one", "two"]);
    let parts = vec![(world.tenant("a"), sent), (world.tenant("b"), traces(&["of b"]))];
    let ingested = now(world.registry.ingest(None, parts));
    assert_eq!(ingested.iter().map(|part| part.accepted).collect::<Vec<_>>(), [2, 1]);
    world.flush();
    for project in ["a", "ops"] {
        assert_eq!(world.names(project), ["one", "two"]);
        let span = world.span(project, "one");
        assert_eq!(
            (span.trace_id.as_str(), span.span_id.as_str()),
            ("00000000000000000000000000000001", "0000000000000001")
        );
    }
    assert_eq!(world.names("b"), ["of b"]);
    for (selector, project) in [("tenant:a", "a"), ("tenant:b", "b"), (OPERATIONS, "ops")] {
        assert_delivered(&world, selector, project);
    }
}

#[test]
fn each_binding_adds_its_own() {
    let world = World::with(&["a", "ops"], |builder| {
        builder
            .tenant(
                "a",
                binding("a").source("of a").metadata("plan", "team").also(&operations()),
            )
            .environment("operations", binding("ops").source("of ops").resource("site", "eu"))
    });
    let parts = vec![(world.tenant("a"), traces(&["span"]))];
    now(world.registry.ingest(None, parts));
    world.flush();
    let (own, copy) = (world.span("a", "span"), world.span("ops", "span"));
    assert_eq!(
        (own.source.as_deref(), copy.source.as_deref()),
        (Some("of a"), Some("of ops"))
    );
    assert_eq!(
        (
            own.resource.attributes.get("site"),
            copy.resource.attributes.get("site")
        ),
        (None, Some(&"eu".into()))
    );
    assert!(
        !copy.attributes.keys().any(|key| key.contains("plan")),
        "{:?}",
        copy.attributes
    );
    assert!(own.attributes.keys().any(|key| key.contains("plan")));
}

#[test]
fn a_refusal_of_the_target_is_counted_there_and_refuses_nothing() {
    let small = Limits {
        request_bytes: Some(200),
        ..Limits::default()
    };
    let world = plain_world(&["a", "ops"], |builder| {
        builder
            .tenant("a", binding("a").also(&operations()))
            .environment("operations", binding("ops").limits(small).sampling_ratio(1.0))
    });
    let a = world.tenant("a");
    now(world.registry.ingest(None, vec![(a.clone(), traces_of(50))]));
    now(world.registry.ingest(None, vec![(a.clone(), traces(&["fits"]))]));
    world.flush_all();
    assert_eq!(
        (world.names("a").len(), world.names("ops")),
        (51, vec!["fits".to_owned()])
    );
    let ledger = ledger_of(&world.registry, OPERATIONS);
    assert_eq!((ledger.accepted, ledger.delivered), (51, 1));
    assert_eq!(ledger.dropped, [(DropReason::TooLarge, 50)].into());
}

#[test]
fn spans_too_large_for_the_target_count_as_dropped_there() {
    let world = plain_world(&["a", "ops"], |builder| {
        let small = Limits {
            span_bytes: Some(100),
            ..Limits::default()
        };
        builder
            .tenant("a", binding("a").also(&operations()))
            .environment("operations", binding("ops").limits(small))
    });
    let mut sent = request(&["small", "large"]);
    spans(&mut sent)[1].attributes.push(attribute("text", &"x".repeat(200)));
    let ingested = now(world.registry.ingest(None, vec![(world.tenant("a"), checked(&sent))]));
    assert_eq!((ingested[0].accepted, ingested[0].too_large), (2, 0));
    world.flush_all();
    assert_eq!(
        (world.names("a").len(), world.names("ops")),
        (2, vec!["small".to_owned()])
    );
    assert_eq!(
        ledger_of(&world.registry, OPERATIONS).dropped,
        [(DropReason::TooLarge, 1)].into()
    );
}

#[test]
fn a_full_queue_of_the_target_refuses_no_request_and_a_refused_request_has_no_copy() {
    let export = Export {
        max_queue_size: Some(20),
        max_export_batch_size: Some(5),
        ..quick()
    };
    let world = world_with(|builder| builder.export(export));
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let fault = world.collector.fault(Fault::hang().only(key_of("ops")));
    for request in 1..=10 {
        now(world.registry.ingest(None, vec![(a.clone(), traces_of(10))]));
        wait_for(
            "the tenant's spans",
            || world.names("a").len(),
            |spans| *spans == 10 * request,
        );
    }
    let ledger = ledger_of(&world.registry, OPERATIONS);
    assert_eq!(ledger.accepted, 100);
    assert_eq!(ledger.lost() + ledger.pending(), 100);
    assert!(
        ledger.dropped.contains_key(&DropReason::QueueFull)
            || ledger.dropped.contains_key(&DropReason::QueueFullUnavailable)
    );
    // One part has no room: nothing of any part is accepted, and nothing is copied.
    world.collector.fault(Fault::hang().only(key_of("b")));
    now(world.registry.ingest(None, vec![(b.clone(), traces_of(20))]));
    let before = ledger_of(&world.registry, OPERATIONS).accepted;
    let refused = world
        .registry
        .ingest(None, vec![(a.clone(), traces_of(1)), (b.clone(), traces_of(19))]);
    assert!(matches!(refused, Err(IngestError::Full { .. })), "{refused:?}");
    assert_eq!(ledger_of(&world.registry, OPERATIONS).accepted, before);
    assert_eq!(ledger_of(&world.registry, "tenant:a").accepted, 100);
    world.collector.clear_fault(fault);
    drop(world.registry.shutdown(Duration::ZERO));
}

#[test]
fn each_ratio_decides_on_the_same_trace_ids() {
    let world = plain_world(&["a", "ops"], |builder| {
        builder
            .tenant("a", binding("a").sampling_ratio(0.5).also(&operations()))
            .environment("operations", binding("ops").sampling_ratio(0.25))
    });
    let mut sent = request(&vec!["span"; 400]);
    for (number, span) in spans(&mut sent).iter_mut().enumerate() {
        let low = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        span.trace_id = (1_u128 << 64 | u128::from(low)).to_be_bytes().into();
    }
    let ingested = now(world.registry.ingest(None, vec![(world.tenant("a"), checked(&sent))]));
    world.flush();
    let ids = |project: &str| -> std::collections::BTreeSet<String> {
        world
            .project(project)
            .spans()
            .iter()
            .map(|span| span.trace_id.clone())
            .collect()
    };
    let (own, copies) = (ids("a"), ids("ops"));
    assert_eq!(
        (own.len() as u64, ingested[0].accepted, ingested[0].sampled_out),
        (ingested[0].accepted, own.len() as u64, 400 - own.len() as u64)
    );
    assert!(
        copies.is_subset(&own) && (50..150).contains(&copies.len()),
        "{}",
        copies.len()
    );
    assert_eq!(ledger_of(&world.registry, OPERATIONS).accepted, copies.len() as u64);
}

#[test]
fn requests_to_the_session_api_are_copied_without_sampling() {
    let world = plain_world(&["a", "ops"], |builder| {
        builder
            .tenant("a", binding("a").sampling_ratio(0.0).also(&operations()))
            .environment("operations", binding("ops").sampling_ratio(0.0))
    });
    let body = br#"{"session_id": "67e55044-10b1-426f-9247-bb680e5fe0c8"}"#;
    let request = SessionRequest::from_json(&SessionCall::BareStart, body).expect("valid");
    now(world.registry.ingest_session(None, &world.tenant("a"), request));
    world.flush();
    for project in ["a", "ops"] {
        assert_eq!(world.names(project), ["session.start"], "{project}");
    }
}

#[test]
fn a_target_without_a_tracer_costs_its_copies_alone() {
    let world = plain_world(&["a"], |builder| {
        let missing: tracer_registry::Selector = "tenant:missing".parse().expect("a selector");
        builder.tenant("a", binding("a").also(&missing))
    });
    now(world.registry.ingest(None, vec![(world.tenant("a"), traces_of(7))]));
    world.flush_all();
    assert_eq!(world.names("a").len(), 7);
    let ledger = ledger_of(&world.registry, "tenant:missing");
    assert_eq!(ledger.dropped, [(DropReason::NoTracer, 7)].into());
    assert!(!status_of(&world.registry, "tenant:a").copies[0].works);
}

#[cfg(feature = "spool")]
mod on_disk {
    use super::*;
    use crate::spool::Disk;
    use tracer_registry::config::SpoolMode;

    fn durable<T: Unpin>(accepted: Result<Accepted<T>, IngestError>) -> T {
        match accepted.expect("placed") {
            Accepted::Now(accepted) => accepted,
            Accepted::OnceDurable(durable) => {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.expect("a runtime").block_on(durable).expect("on disk")
            }
        }
    }

    fn copied(disk: &Disk, builder: RegistryBuilder) -> RegistryBuilder {
        builder
            .defaults(plain(&disk.collector.url()))
            .tenant("a", binding("a").also(&operations()))
            .environment("operations", binding("ops"))
    }

    fn is_there(registry: &TracerRegistry, count: u64) {
        wait_for(
            "the copy on disk",
            || ledger_of(registry, OPERATIONS).accepted,
            |accepted| *accepted == count,
        );
    }

    #[test]
    fn a_request_and_its_copy_survive_a_restart_each_in_its_own_queue() {
        for fails in ["a", "ops"] {
            let disk = Disk::new(SpoolMode::Through, &["a", "ops"]);
            let fault = disk.collector.fault(Fault::status(503).only(key_of(fails)));
            let registry = disk.start_with(|builder| copied(&disk, builder));
            let tracer = registry.tenant("a").expect("configured");
            let (sent, _) = compressed(&["one", "two"]);
            durable(registry.ingest(None, vec![(tracer.clone(), sent)]));
            is_there(&registry, 2);
            let expected = ["one".to_owned(), "two".to_owned()];
            disk.wait_for_names(if fails == "a" { "ops" } else { "a" }, &expected);
            drop(tracer);
            drop(registry.shutdown(Duration::from_secs(4)));
            disk.collector.clear_fault(fault);
            let registry = disk.start_with(|builder| copied(&disk, builder));
            disk.wait_for_names(fails, &expected);
            drop(registry.shutdown(crate::support::LONG));
            assert_eq!((disk.names("a").len(), disk.names("ops").len()), (2, 2));
        }
    }

    #[test]
    fn an_erased_target_refuses_the_copy_and_not_the_request() {
        let disk = Disk::new(SpoolMode::Through, &["a", "ops"]);
        let registry = disk.start_with(|builder| copied(&disk, builder));
        let tracer = registry.tenant("a").expect("configured");
        registry.purge(operations()).expect("erased");
        durable(registry.ingest(None, vec![(tracer, traces_of(3))]));
        wait_for(
            "the copy is refused",
            || ledger_of(&registry, OPERATIONS).lost(),
            |lost| *lost == 3,
        );
        wait_for("the request", || disk.names("a").len(), |spans| *spans == 3);
        assert_eq!(
            ledger_of(&registry, OPERATIONS).dropped,
            [(DropReason::Purged, 3)].into()
        );
        drop(registry.shutdown(crate::support::LONG));
        assert!(disk.names("ops").is_empty());
    }
}

#[test]
fn json_is_refused_as_without_copies() {
    let export = Export {
        protocol: Some(Protocol::HttpJson),
        ..quick()
    };
    let world = world_with(|builder| builder.export(export));
    let refused = world.registry.ingest(None, vec![(world.tenant("a"), traces_of(1))]);
    assert!(matches!(refused, Err(IngestError::Json)), "{refused:?}");
    world.flush();
    assert_eq!(ledger_of(&world.registry, OPERATIONS).accepted, 0);
}
