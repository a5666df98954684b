//! Sessions, enrichments and events.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::{Value, json};
use tracer_registry_collector::{LocalCollector, OperationKind, SessionOrigin};

use super::client::{Response, attribute, call, export, post, span, text};
use super::collector;

const ID: &str = "8d2c7a52-9a4f-4a5e-8f6b-0a9a7e1d3c11";

fn start(collector: &LocalCollector, key: &str, session: &Value) -> Response {
    post("/session/start")
        .bearer(key)
        .json(&json!({ "session": session }))
        .send(collector)
        .expect("a response")
}

fn enrich(collector: &LocalCollector, key: &str, body: &Value) -> Response {
    call("PUT", "/events")
        .bearer(key)
        .json(body)
        .send(collector)
        .expect("a response")
}

#[test]
fn the_response_to_a_start_has_the_five_fields_that_honeyhives_client_reads() {
    let collector = collector();
    let response = start(&collector, "key-a", &json!({ "session_name": "s", "session_id": ID }));
    assert_eq!(response.status, 200);
    assert_eq!(
        response.json(),
        json!({
            "event_id": ID, "session_id": ID, "org_id": "local", "workspace_id": "local", "project_id": "acme",
        })
    );
}

#[test]
fn a_session_id_is_generated_if_it_is_missing_or_not_a_uuid() {
    let collector = collector();
    for session in [
        json!({}),
        json!({ "session_id": "mine" }),
        json!({ "session_id": 7 }),
        json!({ "session_id": null }),
    ] {
        let id = start(&collector, "key-a", &session).json()["session_id"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(id.len(), 36, "{id}");
        assert!(collector.project("acme").unwrap().session(&id).is_some());
    }
    assert_eq!(
        start(&collector, "key-a", &json!({ "session_id": ID.to_uppercase() })).json()["session_id"],
        ID
    );
    assert_eq!(collector.project("acme").unwrap().sessions().len(), 5);
}

#[test]
fn a_second_start_merges_into_the_existing_session() {
    let collector = collector();
    let first = json!({
        "session_id": ID, "session_name": "first", "source": "production", "inputs": { "q": 1 },
        "metadata": { "a": 1, "b": 1 }, "user_properties": { "u": 1 },
    });
    let second = json!({
        "session_id": ID, "session_name": "second", "source": "dev", "inputs": { "r": 2 },
        "metadata": { "b": 2, "c": 2 }, "user_properties": { "v": 2 },
    });
    start(&collector, "key-a", &first);
    assert_eq!(start(&collector, "key-a", &second).json()["session_id"], ID);
    let project = collector.project("acme").unwrap();
    let session = project.session(ID).unwrap();
    assert_eq!(session.origin, SessionOrigin::Started);
    assert_eq!(
        (session.name.as_deref(), session.source.as_deref()),
        (Some("first"), Some("production"))
    );
    assert_eq!(json!(session.metadata), json!({ "a": 1, "b": 2, "c": 2 }));
    assert_eq!(json!(session.user_properties), json!({ "u": 1, "v": 2 }));
    assert_eq!(json!(session.inputs), json!({ "q": 1, "r": 2 }));
    assert_eq!(
        session
            .operations
            .iter()
            .map(|operation| &operation.body)
            .collect::<Vec<_>>(),
        [&first, &second]
    );
}

#[test]
fn v1_sessions_accepts_an_unwrapped_session() {
    let collector = collector();
    let body = json!({ "session_id": ID, "metadata": { "a": 1 } });
    assert_eq!(post("/v1/sessions").bearer("key-a").json(&body).status(&collector), 200);
    assert_eq!(collector.project("acme").unwrap().session(ID).unwrap().metadata["a"], 1);
}

#[test]
fn the_same_id_with_another_key_is_another_session() {
    let collector = collector();
    start(
        &collector,
        "key-a",
        &json!({ "session_id": ID, "metadata": { "of": "a" } }),
    );
    start(
        &collector,
        "key-b",
        &json!({ "session_id": ID, "metadata": { "of": "b" } }),
    );
    enrich(
        &collector,
        "key-b",
        &json!({ "event_id": ID, "metadata": { "more": "b" } }),
    );
    let metadata = |name: &str| json!(collector.project(name).unwrap().session(ID).unwrap().metadata);
    assert_eq!(metadata("acme"), json!({ "of": "a" }));
    assert_eq!(metadata("bolt"), json!({ "of": "b", "more": "b" }));
}

#[test]
fn enrichments_merge_in_order_of_arrival_and_replace_outputs() {
    let collector = collector();
    start(
        &collector,
        "key-a",
        &json!({ "session_id": ID, "metadata": { "a": 0 } }),
    );
    let response = enrich(
        &collector,
        "key-a",
        &json!({
            "event_id": ID, "metadata": { "a": 1 }, "feedback": { "f": 1 }, "metrics": { "m": 1 }, "config": { "c": 1 },
            "user_properties": { "u": 1 }, "outputs": { "x": 1 }, "duration": 12.5,
        }),
    );
    assert_eq!(
        (response.status, response.json()),
        (200, json!({ "success": true, "event_id": ID }))
    );
    let second = json!({ "event_id": ID, "metrics": { "n": 2 }, "outputs": { "y": 2 }, "feedback": null });
    enrich(&collector, "key-a", &second);
    let project = collector.project("acme").unwrap();
    let session = project.session(ID).unwrap();
    assert_eq!(json!(session.metadata), json!({ "a": 1 }));
    assert_eq!(json!(session.feedback), json!({ "f": 1 }));
    assert_eq!(json!(session.metrics), json!({ "m": 1, "n": 2 }));
    assert_eq!(json!(session.config), json!({ "c": 1 }));
    assert_eq!(json!(session.user_properties), json!({ "u": 1 }));
    assert_eq!(json!(session.outputs), json!({ "y": 2 }));
    assert_eq!(session.duration_millis, Some(12.5));
    let kinds: Vec<_> = session.operations.iter().map(|operation| operation.kind).collect();
    assert_eq!(
        kinds,
        [OperationKind::Start, OperationKind::Enrich, OperationKind::Enrich]
    );
    assert!(session.operations.is_sorted_by_key(|operation| operation.sequence));
}

#[test]
fn an_enrichment_before_the_start_is_accepted_and_the_order_stays_visible() {
    let collector = collector();
    assert_eq!(
        enrich(&collector, "key-a", &json!({ "event_id": ID, "metadata": { "a": 1 } })).status,
        200
    );
    let origin = || collector.project("acme").unwrap().session(ID).unwrap().origin;
    assert_eq!(origin(), SessionOrigin::EnrichedOnly);
    start(&collector, "key-a", &json!({ "session_id": ID }));
    assert_eq!(origin(), SessionOrigin::Started);
    let project = collector.project("acme").unwrap();
    let kinds: Vec<_> = project
        .session(ID)
        .unwrap()
        .operations
        .iter()
        .map(|operation| operation.kind)
        .collect();
    assert_eq!(kinds, [OperationKind::Enrich, OperationKind::Start]);
}

#[test]
fn invalid_bodies_are_refused_and_change_nothing() {
    let collector = collector();
    for body in [
        json!({ "event_id": ID, "outputs": [1] }),
        json!({ "event_id": ID, "outputs": "text" }),
        json!({ "event_id": ID, "metadata": 1 }),
        json!({ "event_id": ID, "duration": "long" }),
        json!({ "event_id": "" }),
        json!({ "metadata": {} }),
        json!([]),
    ] {
        let response = enrich(&collector, "key-a", &body);
        assert_eq!(response.status, 400, "{body}");
        assert!(response.json()["message"].is_string());
    }
    assert_eq!(start(&collector, "key-a", &json!("text")).status, 400);
    assert_eq!(start(&collector, "key-a", &json!({ "metadata": [] })).status, 400);
    assert_eq!(
        post("/session/start")
            .bearer("key-a")
            .json(&json!({}))
            .status(&collector),
        400
    );
    assert_eq!(
        post("/session/start")
            .bearer("key-a")
            .body("application/json", "{")
            .status(&collector),
        400
    );
    assert_eq!(
        post("/session/start")
            .bearer("key-a")
            .body("text/plain", "{}")
            .status(&collector),
        415
    );
    assert_eq!(
        post("/events")
            .bearer("key-a")
            .json(&json!({ "event_name": "bare" }))
            .status(&collector),
        400
    );
    assert_eq!(
        post("/session/start")
            .json(&json!({ "session": {} }))
            .status(&collector),
        401
    );
    let project = collector.project("acme").unwrap();
    assert!(project.sessions().is_empty() && project.events().is_empty());
}

#[test]
fn an_event_is_stored_and_can_be_enriched() {
    let collector = collector();
    let event = json!({
        "event_name": "call", "event_type": "model", "session_id": ID, "metadata": { "a": 1 }, "outputs": { "x": 1 },
    });
    let response = post("/events")
        .bearer("key-a")
        .json(&json!({ "event": event }))
        .send(&collector)
        .unwrap();
    assert_eq!((response.status, &response.json()["success"]), (200, &json!(true)));
    let id = response.json()["event_id"].as_str().unwrap().to_owned();
    let more = json!({ "event_id": id, "metadata": { "b": 2 }, "outputs": { "y": 2 }, "metrics": { "m": 1 } });
    assert_eq!(enrich(&collector, "key-a", &more).status, 200);
    let project = collector.project("acme").unwrap();
    let [event] = project.events() else {
        panic!("{project:?}")
    };
    assert_eq!(
        (event.id.as_str(), event.name.as_deref(), event.session_id.as_deref()),
        (&*id, Some("call"), Some(ID))
    );
    assert_eq!(event.body["metadata"], json!({ "a": 1, "b": 2 }));
    assert_eq!(event.body["outputs"], json!({ "y": 2 }));
    assert_eq!(event.body["metrics"], json!({ "m": 1 }));
    assert!(project.sessions().is_empty());
}

#[test]
fn spans_are_linked_to_their_session_by_either_attribute() {
    let collector = collector();
    let mut vendors = span("vendors", 1);
    vendors.attributes = vec![
        attribute("honeyhive.session_id", text(ID)),
        attribute("session.id", text("other")),
    ];
    let mut standard = span("standard", 2);
    standard.attributes = vec![attribute("session.id", text(ID))];
    assert_eq!(
        export("key-a", vec![vendors, standard, span("none", 3)]).status(&collector),
        200
    );
    let project = collector.project("acme").unwrap();
    let names: Vec<_> = project
        .spans_of_session(ID)
        .iter()
        .map(|span| span.name.clone())
        .collect();
    assert_eq!(names, ["vendors", "standard"]);
    assert!(project.sessions().is_empty(), "no session was started or requested");
}

#[test]
fn a_span_can_create_its_session_by_an_attribute() {
    let collector = collector();
    let mut first = span("first", 1);
    first.attributes = vec![
        attribute("honeyhive.session_id", text(ID)),
        attribute("honeyhive.session_auto_create", Any::BoolValue(true)),
        attribute("honeyhive.session_name", text("auto")),
    ];
    let call = export("key-a", vec![first]).header("X-Source", "dev");
    assert_eq!((call.status(&collector), call.status(&collector)), (200, 200));
    let project = collector.project("acme").unwrap();
    let [session] = project.sessions() else {
        panic!("{project:?}")
    };
    assert_eq!((session.id.as_str(), session.origin), (ID, SessionOrigin::AutoCreated));
    assert_eq!(
        (session.name.as_deref(), session.source.as_deref()),
        (Some("auto"), Some("dev"))
    );
}
