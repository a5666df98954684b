//! Sessions: events are sent in the order in which the program made them, despite failures and
//! retries.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use serde_json::json;
use tracer_registry::status::DropReason;
use tracer_registry::{Enrichment, Session, TracerHandle};
use tracer_registry_collector::{Endpoint, Fault, OperationKind};
use uuid::Uuid;

use crate::support::{LONG, World, binding, key_of, once, wait_for};

#[test]
fn a_start_is_sent_first_and_enrichments_in_order_even_with_retries() {
    let world = World::new(&["a"]);
    world
        .collector
        .fault(Fault::status(503).times(2).on(Endpoint::Sessions));
    world.collector.fault(Fault::reset().times(1).on(Endpoint::Events));
    world.collector.fault(Fault::status(500).times(3).on(Endpoint::Events));
    let session = world.tenant("a").session("chat").start();
    for n in 0..20 {
        session.enrich(
            Enrichment::new()
                // Lists are replaced, not merged, so two enrichments with the same key are never
                // coalesced.
                .metadata("last", vec![n])
                .metadata(format!("n{n}"), n)
                .outputs(json!({ format!("o{n}"): n })),
        );
    }
    world.flush();
    let project = world.project("a");
    let stored = project.session(session.id()).expect("started");
    let kinds: Vec<OperationKind> = stored.operations.iter().map(|operation| operation.kind).collect();
    assert_eq!(kinds[0], OperationKind::Start);
    assert_eq!(kinds[1..], [OperationKind::Enrich; 20]);
    let order: Vec<_> = stored.operations[1..]
        .iter()
        .map(|operation| operation.body["metadata"]["last"].clone())
        .collect();
    assert_eq!(order, (0..20).map(|n| json!([n])).collect::<Vec<_>>());
    assert_eq!(stored.metadata["last"], json!([19]));
    assert_eq!(stored.metadata.len(), 21, "metadata is merged");
    assert_eq!(stored.outputs.len(), 1, "outputs are replaced");
    assert_eq!(stored.outputs["o19"], 19);
}

/// Handles one request of a conversation, as the documentation recommends. Another request of the
/// same process receives the session with its headers and enriches it too.
fn handle_request(tracer: &TracerHandle, id: Uuid, n: i32) {
    let session = tracer.session("chat").id(id).input("question", n).start();
    let mut headers = HashMap::new();
    {
        let _inside = session.enter();
        tracer.inject(&mut headers);
    }
    session.enrich(Enrichment::new().metadata("step", json!([n, "answered"])).outputs(n));
    tracer.extract(&headers).run(|| {
        let received = Session::current().expect("the headers name the session");
        received.enrich(Enrichment::new().metadata("step", json!([n, "received"])));
        received.end();
    });
    session.enrich(
        Enrichment::new()
            .metadata("step", json!([n, "done"]))
            .metric("requests", n),
    );
    session.end();
}

#[test]
fn events_of_one_session_id_arrive_in_order_from_many_handles_after_an_outage() {
    const REQUESTS: i32 = 15;
    let propagating = |name: &str| binding(name).propagate_session_id(true);
    let world = World::with(&["a", "b"], |builder| {
        let builder = builder.tenant("a", propagating("a"));
        builder.tenant("b", propagating("b"))
    });
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let outage = world.collector.fault(Fault::status(503));
    thread::scope(|threads| {
        for (tenant, id) in [("a", ids[0]), ("a", ids[1]), ("b", ids[0])] {
            let world = &world;
            threads.spawn(move || {
                for n in 0..REQUESTS {
                    let request = || handle_request(&world.tenant(tenant), id, n);
                    thread::scope(|request_threads| {
                        request_threads.spawn(request);
                    });
                }
            });
        }
    });
    let hits = || world.collector.fault_hits(outage);
    wait_for("requests during the outage", hits, |hits| *hits >= 3);
    world.collector.clear_fault(outage);
    world.flush();
    let expected: Vec<_> = (0..REQUESTS)
        .flat_map(|n| {
            let step = |name: &str| json!({"step": [n, name]});
            [json!({"question": n}), step("answered"), step("received"), step("done")]
        })
        .collect();
    for (tenant, id) in [("a", ids[0]), ("a", ids[1]), ("b", ids[0])] {
        let project = world.project(tenant);
        let stored = project.session(&id.to_string()).expect("started");
        let received = stored.operations.iter().filter_map(|operation| {
            let body = &operation.body;
            match operation.kind {
                OperationKind::Start => body.get("inputs"),
                // The end of a session has no metadata.
                OperationKind::Enrich => body.get("metadata"),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(received.cloned().collect::<Vec<_>>(), expected, "{tenant}");
        let last = REQUESTS - 1;
        assert_eq!(stored.inputs["question"], last);
        assert_eq!(stored.outputs["result"], last);
        assert_eq!(stored.metadata["step"], json!([last, "done"]));
        assert_eq!(stored.metrics["requests"], last);
        assert!(stored.duration_millis.is_some());
    }
    // Per request: a start, three enrichments, and the end of the handle that started the session.
    let count = |tenant| world.status(tenant).session_events.delivered;
    let per_id = u64::from(REQUESTS.unsigned_abs()) * 5;
    assert_eq!((count("a"), count("b")), (2 * per_id, per_id));
}

#[test]
fn concurrent_handles_of_one_session_id_each_keep_their_order() {
    let world = World::new(&["a"]);
    let id = Uuid::new_v4();
    let outage = world.collector.fault(Fault::status(503));
    let threads = ["t0", "t1", "t2", "t3"];
    thread::scope(|scope| {
        for name in threads {
            let world = &world;
            scope.spawn(move || {
                for n in 0..10 {
                    let session = world.tenant("a").session("chat").id(id).start();
                    session.enrich(Enrichment::new().metadata(name, [n]));
                    session.enrich(Enrichment::new().metadata(name, [n + 100]));
                }
            });
        }
    });
    world.collector.clear_fault(outage);
    world.flush();
    let project = world.project("a");
    let stored = project.session(&id.to_string()).expect("started");
    for name in threads {
        let order: Vec<_> = stored
            .operations
            .iter()
            .filter_map(|operation| operation.body["metadata"].get(name).cloned())
            .collect();
        let expected: Vec<_> = (0..10).flat_map(|n| [json!([n]), json!([n + 100])]).collect();
        assert_eq!(order, expected, "{name}");
        assert_eq!(stored.metadata[name], json!([109]));
    }
}

#[test]
fn a_session_starts_with_its_data_and_the_bindings_metadata_as_defaults() {
    let plan = binding("a").metadata("plan", "pro").metadata("region", "eu");
    let world = World::with(&["a"], |builder| builder.tenant("a", plan));
    let id = Uuid::new_v4();
    let builder = world
        .tenant("a")
        .session("chat")
        .id(id)
        .metadata("plan", "free")
        .input("question", "why?");
    let session = builder.user_property("tier", json!({"name": "gold"})).start();
    assert_eq!(session.id(), id.to_string());
    session.enrich(
        Enrichment::new()
            .feedback("rating", 5)
            .metric("ms", 1.5)
            .config("model", "m")
            .user_property("seen", true)
            .outputs("yes"),
    );
    session.enrich(Enrichment::new());
    world.flush();
    let project = world.project("a");
    let stored = project.session(&id.to_string()).expect("started");
    assert_eq!(stored.name.as_deref(), Some("chat"));
    assert_eq!(stored.source.as_deref(), Some("test"));
    let output = serde_json::to_value(stored).expect("JSON");
    assert_eq!(output["metadata"], json!({"plan": "free", "region": "eu"}));
    assert_eq!(output["inputs"], json!({"question": "why?"}));
    assert_eq!(
        output["user_properties"],
        json!({"tier": {"name": "gold"}, "seen": true})
    );
    assert_eq!(output["feedback"], json!({"rating": 5}));
    assert_eq!(output["metrics"], json!({"ms": 1.5}));
    assert_eq!(output["config"], json!({"model": "m"}));
    assert_eq!(output["outputs"], json!({"result": "yes"}));
    assert_eq!(stored.operations.len(), 2, "an empty enrichment is not sent");
    assert_eq!(world.status("a").session_events.delivered, 2);
}

#[test]
fn concurrent_sessions_keep_their_own_order_and_spans() {
    let world = World::new(&["a", "b"]);
    world.collector.fault(Fault::status(503).times(20));
    thread::scope(|threads| {
        for tenant in ["a", "b", "a", "b"] {
            let world = &world;
            threads.spawn(move || {
                let tracer = world.tenant(tenant);
                let sessions: Vec<_> = (0..30).map(|n| tracer.session(format!("s{n}")).start()).collect();
                for n in 0..5 {
                    for session in &sessions {
                        let _inside = session.enter();
                        tracer.start_span(session.id().to_owned()).end();
                        session.enrich(Enrichment::new().metadata("n", vec![n]));
                    }
                }
            });
        }
    });
    world.flush();
    for tenant in ["a", "b"] {
        let project = world.project(tenant);
        assert_eq!(project.sessions().len(), 60);
        for session in project.sessions() {
            assert_eq!(session.operations[0].kind, OperationKind::Start);
            let order: Vec<_> = session.operations[1..]
                .iter()
                .map(|operation| operation.body["metadata"]["n"].clone())
                .collect();
            assert_eq!(order, [0, 1, 2, 3, 4].map(|n| json!([n])));
            let spans = project.spans_of_session(&session.id);
            assert_eq!(spans.len(), 5);
            assert!(spans.iter().all(|span| span.name == session.id));
        }
    }
}

#[test]
fn a_refused_session_start_is_counted_and_the_spans_of_the_session_arrive() {
    let world = World::with(&["a", "b"], |builder| builder.export(once()));
    world
        .collector
        .fault(Fault::status(403).on(Endpoint::Sessions).only(key_of("a")));
    let a = world.tenant("a");
    let session = a.session("s").start();
    {
        let _inside = session.enter();
        a.start_span("span").end();
    }
    let report = world.registry.force_flush(LONG);
    assert_eq!(report.tracers[0].session_events.dropped[&DropReason::Unauthorized], 1);
    assert_eq!((report.tracers[0].delivered, report.lost()), (1, 1));
}

#[test]
fn a_session_outlives_the_handle_that_started_it() {
    let world = World::new(&["a"]);
    let pooled = world.tenant("a");
    let dedicated = world.registry.dedicated(pooled.selector()).expect("configured");
    let session = dedicated.session("s").start();
    drop(dedicated);
    world.flush();
    assert_eq!(world.status("a").tracers, 2, "the session keeps its tracer alive");
    let tracer = session.tracer().clone();
    {
        let _inside = session.enter();
        tracer.start_span("late").end();
    }
    session.enrich(Enrichment::new().metadata("late", true));
    drop((tracer, session));
    world.flush();
    assert_eq!(world.names("a"), ["late"]);
    assert_eq!(world.project("a").sessions()[0].metadata["late"], true);
}

#[test]
fn sessions_are_equal_if_they_have_the_same_id_and_tracer() {
    let world = World::new(&["a", "b"]);
    let session = |tenant: &str, id: Uuid| world.tenant(tenant).session("s").id(id).start();
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    let mine = session("a", id);
    let current = mine.enter();
    assert_eq!(Session::current().as_ref(), Some(&mine));
    drop(current);
    let all = [mine.clone(), session("a", id), session("a", other), session("b", id)];
    assert_eq!(HashSet::from(all).len(), 3);
}

#[test]
fn a_scope_outlives_the_handle_of_its_session() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let session = a.session("s").start();
    let id = session.id().to_owned();
    let scope = session.scope(async { a.start_span("inside").end() });
    drop(session);
    futures_util::FutureExt::now_or_never(scope).expect("it never waits");
    world.flush();
    assert_eq!(world.span("a", "inside").session_id.as_deref(), Some(id.as_str()));
}

#[test]
fn the_duration_of_a_session_is_sent_in_milliseconds() {
    let world = World::new(&["a"]);
    let session = world.tenant("a").session("timed").start();
    session.enrich(Enrichment::new().duration(Duration::from_micros(12_500)));
    world.flush();
    let stored = world.project("a").session(session.id()).cloned().expect("started");
    assert_eq!(stored.duration_millis, Some(12.5));
}
