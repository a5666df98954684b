//! Queued enrichments are merged into fewer requests, with the same state at the receiver and the
//! same ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry::{Enrichment, Session};
use tracer_registry_collector::{Endpoint, Fault, FaultId, OperationKind, Session as Stored};

use crate::support::{LONG, World, collector, once, registry, wait_for};

/// Starts a session whose start request hangs until the fault is cleared. Later events queue behind
/// it.
fn hanging_session(world: &World) -> (Session, FaultId) {
    let hang = world.collector.fault(Fault::hang().on(Endpoint::Sessions));
    let session = world.tenant("a").session("chat").start();
    wait_for("the start", || world.collector.fault_hits(hang), |hits| *hits == 1);
    (session, hang)
}

fn events(world: &World) -> LedgerSnapshot {
    world.status("a").session_events
}

fn stored(world: &World, session: &Session) -> Stored {
    world
        .project("a")
        .session(session.id())
        .cloned()
        .expect("the session was received")
}

/// Number of enrichment requests, including refused ones.
fn enrichment_requests(world: &World) -> usize {
    let requests = world.collector.requests();
    requests.iter().filter(|request| request.method == "PUT").count()
}

fn keys(table: &BTreeMap<String, Value>) -> Vec<&str> {
    table.keys().map(String::as_str).collect()
}

#[test]
fn queued_enrichments_are_merged_and_a_flush_waits_for_all_of_them() {
    let world = World::new(&["a"]);
    let (session, hang) = hanging_session(&world);
    for n in 0..1000 {
        session.enrich(
            Enrichment::new()
                .metadata("last", n)
                .metadata(format!("n{n}"), n)
                .metric("sum", n * 2)
                .outputs(json!({ format!("o{n}"): n })),
        );
    }
    let report = world.registry.force_flush(Duration::from_millis(50));
    assert_eq!(
        report.tracers[0].session_events.pending, 1001,
        "each enrichment counts separately"
    );
    let ledger = events(&world);
    assert_eq!((ledger.accepted, ledger.in_flight, ledger.queued), (1001, 1, 1000));
    world.collector.clear_fault(hang);
    world.flush();
    assert_eq!(enrichment_requests(&world), 1000_usize.div_ceil(64));
    let ledger = events(&world);
    assert_eq!((ledger.accepted, ledger.delivered, ledger.pending()), (1001, 1001, 0));
    let stored = stored(&world, &session);
    assert_eq!(stored.operations[0].kind, OperationKind::Start);
    assert_eq!(stored.metadata.len(), 1001);
    assert_eq!(
        (&stored.metadata["last"], &stored.metrics["sum"]),
        (&json!(999), &json!(1998))
    );
    assert_eq!(keys(&stored.outputs), ["o999"], "outputs are replaced");
}

#[test]
fn retries_of_merged_requests_keep_the_order() {
    let world = World::new(&["a"]);
    let (session, hang) = hanging_session(&world);
    world.collector.fault(Fault::status(503).times(3).on(Endpoint::Events));
    world.collector.fault(Fault::reset().times(1).on(Endpoint::Events));
    for n in 0..200 {
        session.enrich(Enrichment::new().metadata("last", n).metadata(format!("n{n}"), n));
    }
    world.collector.clear_fault(hang);
    world.flush();
    let stored = stored(&world, &session);
    let received = stored.operations[1..].iter().map(|operation| {
        let metadata = operation.body["metadata"].as_object().expect("a table");
        (metadata["last"].as_u64().expect("a number"), metadata.len())
    });
    assert_eq!(received.collect::<Vec<_>>(), [(63, 65), (127, 65), (191, 65), (199, 9)]);
    assert_eq!((stored.metadata.len(), enrichment_requests(&world)), (201, 8));
    assert_eq!(events(&world).delivered, 201);
}

#[test]
fn a_merge_never_changes_the_state_at_the_receiver() {
    let world = World::new(&["a"]);
    let (session, hang) = hanging_session(&world);
    let values = [
        json!({"x": 1}),
        json!({"y": 2}),
        json!("plain"),
        json!(3),
        json!(null),
        json!(4),
        json!([5]),
    ];
    for value in values {
        session.enrich(Enrichment::new().config("same", value));
    }
    world.collector.clear_fault(hang);
    world.flush();
    let stored = stored(&world, &session);
    let order: Vec<&Value> = stored.operations[1..]
        .iter()
        .map(|operation| &operation.body["config"]["same"])
        .collect();
    // The second table is merged with the two plain values that replace it.
    assert_eq!(
        order,
        [&json!({"x": 1}), &json!(3), &json!(null), &json!(4), &json!([5])]
    );
    assert_eq!(events(&world).delivered, 8);
}

#[test]
fn a_refused_enrichment_of_a_merged_request_is_dropped_alone() {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a"], &fingerprinter).max_body_bytes(10_000);
    let collector = collector.start().expect("a free port");
    let registry = registry(&collector.url(), &["a"], &fingerprinter)
        .build()
        .expect("valid");
    let world = World { registry, collector };
    let (session, hang) = hanging_session(&world);
    for n in 0..6 {
        // The collector refuses bodies over its limit: the fourth enrichment, alone or merged.
        let text = if n == 3 { "x".repeat(20_000) } else { n.to_string() };
        session.enrich(Enrichment::new().metadata(format!("n{n}"), text).metadata("last", n));
    }
    world.collector.clear_fault(hang);
    let report = world.registry.force_flush(LONG);
    assert_eq!(
        report.tracers[0].session_events.dropped[&DropReason::TooLarge],
        1,
        "{report:#?}"
    );
    let ledger = events(&world);
    assert_eq!(
        (ledger.accepted, ledger.delivered, ledger.lost(), ledger.pending()),
        (7, 6, 1, 0)
    );
    let stored = stored(&world, &session);
    assert_eq!(keys(&stored.metadata), ["last", "n0", "n1", "n2", "n4", "n5"]);
    let order: Vec<&Value> = stored.operations[1..]
        .iter()
        .map(|operation| &operation.body["metadata"]["last"])
        .collect();
    assert_eq!(order, [0, 1, 2, 4, 5], "separate requests, in order");
    assert_eq!(enrichment_requests(&world), 7);
}

#[test]
fn a_refused_key_drops_a_merged_request_and_counts_each_enrichment() {
    let world = World::with(&["a"], |builder| builder.export(once()));
    let (session, hang) = hanging_session(&world);
    world.collector.fault(Fault::status(401).times(1).on(Endpoint::Events));
    for n in 0..5 {
        session.enrich(Enrichment::new().metadata(format!("n{n}"), n));
    }
    world.collector.clear_fault(hang);
    let report = world.registry.force_flush(LONG);
    let ledger = &report.tracers[0].session_events;
    assert_eq!((ledger.delivered, ledger.dropped[&DropReason::Unauthorized]), (1, 5));
    assert_eq!(enrichment_requests(&world), 1);
}

#[test]
fn shutdown_counts_each_enrichment_of_a_hanging_merged_request() {
    let world = World::new(&["a"]);
    let (session, hang) = hanging_session(&world);
    world.collector.fault(Fault::hang().on(Endpoint::Events));
    for n in 0..5 {
        session.enrich(Enrichment::new().metadata(format!("n{n}"), n));
    }
    world.collector.clear_fault(hang);
    wait_for("the merged request", || events(&world), |ledger| ledger.in_flight == 5);
    session.enrich(Enrichment::new().metadata("behind", true));
    let report = world.registry.shutdown(Duration::from_millis(50));
    let ledger = &report.tracers[0].session_events;
    assert_eq!(
        (ledger.delivered, ledger.dropped[&DropReason::Shutdown], ledger.pending),
        (1, 6, 0)
    );
}

#[test]
fn deeply_nested_values_are_truncated_without_stack_overflow() {
    let nested = || (0..10_000).fold(json!("core"), |inner, _| Value::Array(vec![json!("beside"), inner]));
    let world = World::new(&["a"]);
    let builder = world.tenant("a").session("deep").metadata("m", nested());
    let session = builder.input("i", nested()).user_property("u", nested()).start();
    let enrichment = Enrichment::new()
        .metadata("e", nested())
        .feedback("f", nested())
        .outputs(nested());
    assert_eq!(enrichment.clone(), enrichment);
    assert!(!format!("{enrichment:?}").contains("core"));
    session.enrich(enrichment);
    world.flush();
    let stored = stored(&world, &session);
    for value in [
        &stored.metadata["m"],
        &stored.inputs["i"],
        &stored.user_properties["u"],
        &stored.metadata["e"],
        &stored.feedback["f"],
        &stored.outputs["result"],
    ] {
        let text = value.to_string();
        assert_eq!((text.matches("beside").count(), text.matches("null").count()), (64, 1));
    }
}

#[test]
fn non_finite_numbers_are_sent_as_strings() {
    let world = World::new(&["a"]);
    let session = world.tenant("a").session("s").metadata("nan", f64::NAN).start();
    session.enrich(Enrichment::new().metric("infinite", f64::INFINITY));
    world.flush();
    let stored = stored(&world, &session);
    assert_eq!(
        (&stored.metadata["nan"], &stored.metrics["infinite"]),
        (&Value::from("NaN"), &Value::from("Infinity"))
    );
}
