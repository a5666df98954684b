//! What happened to the traces of clients. Equal trace ids of two tenants stay apart.

use opentelemetry::trace::{Span as _, TraceId};
use tracer_registry::config::{BackendName, Export, Limits};
use tracer_registry::ingest::{IngestError, SessionCall, SessionRequest, Traces};
use tracer_registry::selector::Slug;
use tracer_registry::status::DropReason;
use tracer_registry_collector::Fault;

use super::request::{attribute, checked, request, spans};
use super::{now, world};
use crate::explain::{answers, fate, fates, on_flush_only};
use crate::support::{LONG, World, binding, quick};

const ID: TraceId = TraceId::from_bytes([7; 16]);

/// Creates a request with spans of these names in one trace.
fn of_one_trace(id: TraceId, names: &[&str]) -> Traces {
    let mut request = request(names);
    for span in spans(&mut request) {
        span.trace_id = id.to_bytes().into();
    }
    checked(&request)
}

fn caller(name: &str) -> Slug {
    name.parse().expect("valid")
}

fn ingest(world: &World, by: &str, parts: Vec<(&str, Traces)>) -> Result<(), IngestError> {
    let parts = parts.into_iter().map(|(tenant, traces)| (world.tenant(tenant), traces));
    world.registry.ingest(Some(&caller(by)), parts.collect()).map(drop)
}

#[test]
fn equal_trace_ids_of_two_tenants_have_separate_explanations() {
    let world = world(BackendName::Otlp, on_flush_only(quick()), |builder| builder);
    world.collector.fault(Fault::status(400).when_body_contains("poison"));
    let parts = vec![
        ("a", of_one_trace(ID, &["1", "2"])),
        ("b", of_one_trace(ID, &["poison"])),
    ];
    ingest(&world, "shared", parts).expect("queued");
    ingest(&world, "of-a", vec![("a", of_one_trace(ID, &["3"]))]).expect("queued");
    drop(world.registry.force_flush(LONG));
    let fates = fates(&world.registry, ID);
    let [a, b] = ["tenant:a", "tenant:b"].map(|selector| &fates[selector]);
    assert_eq!(fates.len(), 2);
    assert_eq!((a.accepted, a.delivered, a.dropped.len()), (3, 3, 0));
    assert_eq!(
        (b.accepted, b.delivered, &b.dropped),
        (1, 0, &[(DropReason::Refused, 1)].into())
    );
    assert_eq!((answers(a), answers(b)), (vec![("200", 1)], vec![("400", 1)]));
    assert_eq!(
        (a.caller.as_deref(), b.caller.as_deref()),
        (Some("of-a"), Some("shared"))
    );
}

#[test]
fn spans_that_are_left_out_are_counted_by_reason() {
    let world = world(BackendName::Otlp, on_flush_only(quick()), |builder| {
        let none = binding("a").sampling_ratio(0.0);
        let small = Limits {
            span_bytes: Some(200),
            ..Limits::default()
        };
        builder.tenant("a", none).tenant("b", binding("b").limits(small))
    });
    let mut large = request(&["large", "small"]);
    for span in spans(&mut large) {
        span.trace_id = ID.to_bytes().into();
    }
    spans(&mut large)[0].attributes = vec![attribute("much", &"x".repeat(300))];
    let parts = vec![("a", of_one_trace(ID, &["1", "2"])), ("b", checked(&large))];
    ingest(&world, "c", parts).expect("queued");
    world.flush();
    let fates = fates(&world.registry, ID);
    let [a, b] = ["tenant:a", "tenant:b"].map(|selector| &fates[selector]);
    assert_eq!(
        (a.sampled_out, a.too_large, a.accepted, a.caller.as_deref()),
        (2, 0, 0, Some("c"))
    );
    assert_eq!((b.sampled_out, b.too_large, b.accepted, b.delivered), (0, 1, 1, 1));
}

#[test]
fn a_refused_request_is_recorded_for_each_of_its_tenants() {
    let export = Export {
        max_queue_size: Some(1),
        ..quick()
    };
    let world = world(BackendName::Otlp, on_flush_only(export), |builder| builder);
    ingest(
        &world,
        "c",
        vec![("b", of_one_trace(TraceId::from(1), &["fills the queue"]))],
    )
    .expect("queued");
    let parts = || vec![("a", of_one_trace(ID, &["1"])), ("b", of_one_trace(ID, &["2", "3"]))];
    for times in 1..3 {
        assert!(matches!(ingest(&world, "c", parts()), Err(IngestError::Full { .. })));
        let fates = fates(&world.registry, ID);
        let refused = ["tenant:a", "tenant:b"].map(|selector| (fates[selector].refused, fates[selector].accepted));
        assert_eq!(refused, [(times, 0), (2 * times, 0)]);
    }
    world.flush();
    ingest(&world, "c", parts()).expect("queued");
    world.flush();
    let fates = fates(&world.registry, ID);
    let counts = ["tenant:a", "tenant:b"].map(|selector| (fates[selector].refused, fates[selector].delivered));
    assert_eq!(counts, [(2, 1), (4, 2)]);
}

#[test]
fn the_batches_of_a_large_request_are_counted() {
    let export = Export {
        max_export_batch_size: Some(10),
        ..quick()
    };
    let world = world(BackendName::Otlp, on_flush_only(export), |builder| builder);
    world.tenant("a").start_span("own").end();
    ingest(&world, "c", vec![("a", of_one_trace(ID, &["x"; 25]))]).expect("queued");
    world.flush();
    let fate = fate(&world.registry, ID);
    assert_eq!((fate.accepted, fate.delivered), (25, 25));
    assert_eq!((fate.batches, fate.attempts), (3, 3));
}

#[test]
fn a_session_request_that_becomes_a_span_is_explained() {
    let world = world(BackendName::Otlp, on_flush_only(quick()), |builder| builder);
    let body = br#"{"session": {"session_name": "s"}}"#;
    let request = SessionRequest::from_json(&SessionCall::Start, body).expect("valid");
    let id = TraceId::from_bytes(request.id().into_bytes());
    let queued = world
        .registry
        .ingest_session(Some(&caller("c")), &world.tenant("a"), request);
    now(queued);
    world.flush();
    let fate = fate(&world.registry, id);
    assert_eq!((fate.delivered, fate.caller.as_deref()), (1, Some("c")));
}
