//! HoneyHive's session API, and the question of a client about its credential.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry::status::TracerStatus;
use tracer_registry_collector::{Fault, LocalCollector, Project, SessionOrigin};

use crate::support::{ACME, GLOBEX, KEYS, LONG, PATHS, Reply, SHARED, SPLIT, Service, attribute, gzip, spans};

const HONEYHIVE: &str = "backend = 'honeyhive'\nsource = 'production'\nmetadata = { region = 'eu', plan = 'basic' }";
const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const EVENT: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

impl Service {
    fn api(&self, method: Method, path: &str, token: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.http()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            if *name == "content-type" {
                request.headers_mut().unwrap().remove("content-type");
            }
            request = request.header(*name, *value);
        }
        self.client.send(request.body(body.into()).unwrap())
    }

    fn post_json(&self, path: &str, body: &Value) -> Value {
        succeeded(&self.api(Method::POST, path, ACME, &[], body.to_string()))
    }

    fn put_json(&self, path: &str, body: &Value) -> Value {
        succeeded(&self.api(Method::PUT, path, ACME, &[], body.to_string()))
    }

    fn tracer_status(&self, tenant: &str) -> TracerStatus {
        let selector = format!("tenant:{tenant}");
        let mut tracers = self.gateway().registry().status().tracers;
        let at = tracers
            .iter()
            .position(|tracer| tracer.selector.to_string() == selector)
            .unwrap();
        tracers.swap_remove(at)
    }

    fn project(&self, name: &str) -> Project {
        self.collector.project(name).unwrap()
    }
}

fn succeeded(reply: &Reply) -> Value {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json")),
        "{reply:?}"
    );
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn a_start_is_answered_with_five_ids_and_arrives_under_the_tenants_key() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let session = json!({
        "session_id": ID.to_uppercase(), "session_name": "chat", "inputs": {"question": "?"},
        "metadata": {"plan": "enterprise"}, "user_properties": {"user": "u-1"}, "new_field": [1],
    });
    let answer = service.post_json("/session/start", &json!({ "session": session }));
    let tenant = "tenant:acme";
    assert_eq!(
        answer,
        json!({"event_id": ID, "session_id": ID, "org_id": tenant, "workspace_id": tenant, "project_id": tenant})
    );
    service.flush();
    let project = service.project("acme");
    let arrived = project.session(ID).unwrap();
    assert_eq!(arrived.origin, SessionOrigin::Started);
    assert_eq!(
        arrived.operations[0].body,
        json!({
            "session_id": ID, "session_name": "chat", "inputs": {"question": "?"}, "source": "production",
            "metadata": {"plan": "enterprise", "region": "eu"}, "user_properties": {"user": "u-1"}, "new_field": [1],
        })
    );
    assert!(service.project("globex").sessions().is_empty());
    let status = service.status();
    assert_eq!((status.requests.succeeded, status.requests.session_requests), (1, 1));
    assert_eq!(
        (
            status.requests.running,
            status.memory.used,
            status.requests.spans_accepted
        ),
        (0, 0, 0)
    );
    let callers = service.gateway().callers();
    let acme = callers.iter().find(|caller| caller.caller == "acme-backend").unwrap();
    assert_eq!((acme.requests, acme.session_requests, acme.spans), (1, 1, 0));
}

#[test]
fn a_session_without_a_uuid_gets_one_that_works_from_then_on() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let mut ids = BTreeSet::new();
    for given in [json!(null), json!("chat-7"), json!("")] {
        let answer = service.post_json("/v1/sessions", &json!({"session_id": given, "session_name": "chat"}));
        let id = answer["session_id"].as_str().unwrap().to_owned();
        assert_eq!(answer["event_id"], json!(id));
        service.put_json("/events", &json!({"event_id": id, "feedback": {"rating": 5}}));
        ids.insert(id);
    }
    service.flush();
    let project = service.project("acme");
    let arrived: BTreeSet<_> = project.sessions().iter().map(|session| session.id.clone()).collect();
    assert_eq!((arrived, ids.len()), (ids, 3));
    assert!(project.sessions().iter().all(|session| session.feedback["rating"] == 5));
}

#[test]
fn every_path_works_with_each_rule_that_names_one_tenant() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let with_id = format!("/v1/events/{EVENT}");
    let calls = [
        (
            Method::POST,
            "/session/start",
            json!({"session": {"session_id": ID, "metadata": {"start": 1}}}),
        ),
        (
            Method::POST,
            "/v1/sessions",
            json!({"session_id": ID, "metadata": {"bare": 1}}),
        ),
        (
            Method::PUT,
            "/events",
            json!({"event_id": ID, "metadata": {"enriched": 1}}),
        ),
        (
            Method::POST,
            "/events",
            json!({"event": {"event_id": EVENT, "session_id": ID, "event_name": "call"}}),
        ),
        (
            Method::POST,
            "/v1/events",
            json!({"session_id": ID, "event_name": "bare call"}),
        ),
        (Method::PUT, &*with_id, json!({"metadata": {"enriched": 1}})),
    ];
    for (method, path, body) in &calls {
        for (token, prefix, headers) in [
            (ACME, "", &[][..]),
            (SHARED, "", &[("x-tenant", "acme")][..]),
            (PATHS, "/t/acme", &[]),
            (
                ACME,
                "/honeyhive/t/acme",
                &[("content-type", "application/json; charset=utf-8")],
            ),
        ] {
            let reply = service.api(
                method.clone(),
                &format!("{prefix}{path}"),
                token,
                headers,
                body.to_string(),
            );
            let answer = succeeded(&reply);
            let id = answer["event_id"].as_str().unwrap();
            match *path {
                "/v1/events" => assert_eq!(id.len(), 36),
                path if path == with_id || body.get("event").is_some() => assert_eq!(id, EVENT, "{path}"),
                path => assert_eq!(id, ID, "{path}"),
            }
        }
    }
    service.flush();
    let project = service.project("acme");
    let session = project.session(ID).unwrap();
    assert_eq!(
        (session.metadata["start"].clone(), session.metadata["bare"].clone()),
        (json!(1), json!(1))
    );
    assert_eq!(session.metadata["enriched"], json!(1));
    assert_eq!(project.sessions().len(), 1, "enriched events are no sessions");
    let names: Vec<_> = project
        .events()
        .iter()
        .filter_map(|event| event.name.as_deref())
        .collect();
    assert_eq!(names.iter().filter(|name| **name == "bare call").count(), 4);
    assert!(names.contains(&"call"));
    assert!(service.project("globex").sessions().is_empty() && service.project("globex").events().is_empty());
}

#[test]
fn requests_of_a_session_arrive_in_order_although_the_backend_fails_at_first() {
    let service = Service::with_defaults(HONEYHIVE, "[export.retry]\ninitial_backoff = \"10ms\"");
    let fault = service.collector.fault(Fault::status(503).times(3));
    service.post_json(
        "/session/start",
        &json!({"session": {"session_id": ID, "session_name": "chat"}}),
    );
    for step in 0..20 {
        service.put_json(
            "/events",
            &json!({"event_id": ID, "metadata": {"step": step}, "outputs": {"step": step}}),
        );
        if step == 10 {
            let event = json!({"event_id": EVENT, "session_id": ID, "event_name": "call", "metadata": {"n": "posted"}});
            service.post_json("/events", &json!({ "event": event }));
            service.put_json("/events", &json!({"event_id": EVENT, "metadata": {"n": "enriched"}}));
        }
    }
    // The client repeats a start of which it lost the answer.
    service.post_json(
        "/session/start",
        &json!({"session": {"session_id": ID, "metadata": {"again": true}}}),
    );
    service.flush();
    assert_eq!(service.collector.fault_hits(fault), 3);
    let project = service.project("acme");
    let session = project.session(ID).unwrap();
    assert_eq!((session.origin, project.sessions().len()), (SessionOrigin::Started, 1));
    assert_eq!(session.name.as_deref(), Some("chat"));
    assert_eq!(
        (&session.metadata["step"], &session.outputs["step"]),
        (&json!(19), &json!(19))
    );
    assert_eq!(session.metadata["again"], json!(true));
    let sequences: Vec<_> = session.operations.iter().map(|operation| operation.sequence).collect();
    assert!(sequences.is_sorted());
    assert_eq!(
        session.operations.last().unwrap().body["metadata"]["again"],
        json!(true)
    );
    let [event] = project.events() else {
        panic!("{:?}", project.events());
    };
    assert_eq!(event.body["metadata"]["n"], json!("enriched"));
    // It came between the enrichments before and after it.
    let step_at = |sequence: u64| {
        let before = session
            .operations
            .iter()
            .filter(|operation| operation.sequence < sequence);
        before
            .filter_map(|operation| operation.body["metadata"]["step"].as_u64())
            .max()
    };
    assert_eq!(step_at(event.sequence), Some(10));
}

#[test]
fn what_is_queued_arrives_after_a_restart_of_the_backend() {
    let mut service = Service::with_defaults(
        HONEYHIVE,
        "[export.retry]\ninitial_backoff = \"10ms\"\nmax_backoff = \"50ms\"",
    );
    let address = service.collector.addr();
    service.collector.shutdown();
    service.post_json(
        "/session/start",
        &json!({"session": {"session_id": ID, "session_name": "chat"}}),
    );
    service.put_json("/events", &json!({"event_id": ID, "metadata": {"while": "down"}}));
    let builder = LocalCollector::builder().listen(address.to_string());
    let builder = KEYS
        .into_iter()
        .fold(builder, |builder, (name, key)| builder.project(name, key));
    service.collector = builder.start().unwrap();
    service.flush();
    let project = service.project("acme");
    let session = project.session(ID).unwrap();
    assert_eq!(
        (session.origin, session.name.as_deref()),
        (SessionOrigin::Started, Some("chat"))
    );
    assert_eq!(session.metadata["while"], json!("down"));
}

/// Token, path, headers, status and message.
type Refused = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    u16,
    &'static str,
);

const NOT_ALLOWED: &str = "the caller may not address this tenant";
const NO_TENANT: &str = "the request names no tenant";
const NO_RESOURCE: &str = "the caller's tenant is in a resource attribute, which the session API does not have";

#[rustfmt::skip]
const REFUSED: [Refused; 14] = [
    ("no-such-token", "/session/start", &[], 401, "missing or unknown credential"),
    (ACME, "/session/start", &[("x-api-key", GLOBEX)], 400, "more than one credential"),
    (ACME, "/t/globex/session/start", &[], 403, NOT_ALLOWED),
    (SHARED, "/session/start", &[("x-tenant", "initech")], 403, NOT_ALLOWED),
    (SHARED, "/t/globex/session/start", &[("x-tenant", "acme")], 403, NOT_ALLOWED),
    (SHARED, "/session/start", &[("x-tenant", "acme"), ("x-tenant", "globex")], 400, "the request names more than one tenant"),
    (SHARED, "/session/start", &[], 400, NO_TENANT),
    (PATHS, "/session/start", &[], 400, NO_TENANT),
    (PATHS, "/t/initech/session/start", &[], 403, NOT_ALLOWED),
    (PATHS, "/t/acme/v1/session/start", &[], 403, NOT_ALLOWED),
    (SPLIT, "/session/start", &[], 400, NO_RESOURCE),
    (SPLIT, "/t/acme/session/start", &[], 400, NO_RESOURCE),
    (ACME, "/session/start", &[("content-type", "application/x-protobuf")], 415, "unsupported content type: use application/json"),
    (ACME, "/session/start", &[("content-encoding", "br")], 415, "unsupported encoding: use gzip, zstd or identity"),
];

#[test]
fn a_client_that_names_another_tenant_is_refused_in_the_format_that_it_shows() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let body = json!({"session": {"session_id": ID}}).to_string();
    for (token, path, headers, status, message) in REFUSED {
        let reply = service.api(Method::POST, path, token, headers, body.clone());
        assert_eq!(reply.status, status, "{path} {headers:?}: {reply:?}");
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        let shown = (answer["message"].as_str(), answer["detail"].as_str());
        assert_eq!(shown, (Some(message), Some(message)), "{path}");
    }
    let refused = |name: &str| {
        let callers = service.gateway().callers();
        callers
            .into_iter()
            .find(|caller| caller.caller == name)
            .unwrap()
            .refused
    };
    assert_eq!(refused("split-api"), [("no_tenant", 2)].into());
    assert_eq!(
        refused("path-api"),
        [("no_tenant", 1), ("tenant_not_allowed", 2)].into()
    );
    service.flush();
    assert!(
        service.collector.requests().is_empty(),
        "nothing of a refused request is sent"
    );
    assert_eq!(
        (service.status().requests.session_requests, service.status().memory.used),
        (0, 0)
    );
}

#[test]
fn another_method_of_a_path_is_refused() {
    let service = Service::with_defaults(HONEYHIVE, "");
    for (method, path, allowed) in [
        (Method::GET, "/session/start", "POST"),
        (Method::PUT, "/v1/sessions", "POST"),
        (Method::GET, "/events", "POST, PUT"),
        (Method::POST, "/v1/events/67e55044-10b1-426f-9247-bb680e5fe0c8", "PUT"),
    ] {
        let reply = service.api(method, path, ACME, &[], "{}");
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allowed)), "{path}");
    }
}

#[test]
fn hostile_json_is_refused_and_named() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let deep = format!("{{\"session\": {}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let wide = format!("{{\"session\": {{\"a\": [{}0]}}}}", "{\"\":0},".repeat(100_000));
    for (body, message) in [
        (
            String::new(),
            "the body is not valid JSON: EOF while parsing a value at line 1 column 0",
        ),
        ("[]".to_owned(), "the body is not an object"),
        ("{}".to_owned(), "the body has no object \"session\""),
        (
            format!(r#"{{"session": {{"session_id": "{ID}", "session_id": "{EVENT}"}}}}"#),
            "repeated field \"session_id\"",
        ),
        (
            format!(r#"{{"session": {{"session_id": "{ID}", "event_id": "{EVENT}"}}}}"#),
            "event_id and session_id differ",
        ),
        (
            r#"{"session": {"metadata": "text"}}"#.to_owned(),
            "metadata is not an object",
        ),
        (deep, "nested deeper than 64 levels"),
        (wide, "too many values"),
    ] {
        let reply = service.api(Method::POST, "/session/start", ACME, &[], body);
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 400, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(message), "{answer}");
    }
    let reply = service.api(Method::PUT, "/v1/events/..%2fglobex", ACME, &[], "{}");
    assert_eq!(reply.status, 400);
    service.flush();
    assert!(service.collector.requests().is_empty());
    assert_eq!(service.status().memory.used, 0);
}

#[test]
fn fields_that_choose_a_project_never_reach_the_backend() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let lie = json!({
        "project": "lie", "project_id": "lie", "projectName": "lie", "workspace_id": "lie", "org_id": "lie",
        "tenant": "lie", "event_id": ID,
    });
    service.post_json("/session/start", &json!({"session": lie, "project": "lie"}));
    service.post_json("/events", &json!({"event": lie, "project_id": "lie"}));
    service.put_json("/events", &lie);
    service.put_json(&format!("/v1/events/{ID}"), &lie);
    service.flush();
    let requests = service.collector.requests();
    assert!(requests.len() >= 3, "{requests:?}");
    for request in requests {
        let body = String::from_utf8_lossy(&request.body);
        assert!(!body.contains("lie") && body.contains(ID), "{body}");
    }
}

#[test]
fn compressed_bodies_are_inflated_within_the_limit() {
    let service = Service::with_defaults(HONEYHIVE, "");
    let body = |name: &str| json!({"session": {"session_id": ID, "metadata": {name: "x".repeat(10_000)}}}).to_string();
    for (encoding, message) in [
        ("gzip", gzip(body("gzip").as_bytes())),
        ("zstd", zstd::encode_all(body("zstd").as_bytes(), 3).unwrap()),
    ] {
        succeeded(&service.api(
            Method::POST,
            "/session/start",
            ACME,
            &[("content-encoding", encoding)],
            message,
        ));
    }
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 21 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let reply = service.api(
        Method::POST,
        "/session/start",
        ACME,
        &[("content-encoding", "gzip")],
        bomb,
    );
    assert_eq!(reply.status, 413);
    service.flush();
    let project = service.project("acme");
    let metadata = &project.session(ID).unwrap().metadata;
    assert!(
        metadata.contains_key("gzip") && metadata.contains_key("zstd"),
        "{metadata:?}"
    );
}

#[test]
fn a_full_queue_refuses_its_tenant_alone_and_every_accepted_request_arrives() {
    let service = Service::with_defaults(HONEYHIVE, "[export]\nmax_queue_size = 5");
    service.collector.fault(Fault::hang().only("backend-key-of-acme"));
    let enrich = |token: &str, key: &str| {
        let body = json!({"event_id": ID, "metadata": {key: true}}).to_string();
        service.api(Method::PUT, "/events", token, &[], body)
    };
    let mut accepted = BTreeSet::new();
    let refused = loop {
        let key = format!("key-{}", accepted.len());
        let reply = enrich(ACME, &key);
        if reply.status != 200 {
            break reply;
        }
        accepted.insert(key);
        assert!(accepted.len() < 100);
    };
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1")),
        "{refused:?}"
    );
    assert_eq!(enrich(GLOBEX, "other").status, 200);
    let globex = service.gateway().registry().tenant("globex").unwrap();
    assert!(globex.force_flush(LONG).is_complete());
    assert_eq!(
        service.project("globex").session(ID).unwrap().metadata["other"],
        json!(true)
    );
    service.collector.clear_faults();
    service.flush();
    let project = service.project("acme");
    let arrived: BTreeSet<_> = project.session(ID).unwrap().metadata.keys().cloned().collect();
    assert_eq!((arrived.len(), arrived), (accepted.len(), accepted));
    let ledger = service.tracer_status("acme").session_events;
    assert_eq!(
        (ledger.accepted, ledger.lost()),
        (ledger.delivered, 0),
        "a refused request is in no ledger"
    );
}

/// Prints the times of session requests while the backend hangs.
#[test]
#[ignore = "measures times: cargo test --release -p tracer-registry-gateway --test suite -- --ignored --nocapture times_of"]
fn times_of_session_requests() {
    let service = Service::with_defaults(
        HONEYHIVE,
        "[export]\nmax_queue_size = 100_000\nmax_queue_bytes = \"256MiB\"",
    );
    service.collector.fault(Fault::hang());
    let mut times: [Vec<Duration>; 3] = Default::default();
    let mut measure = |index: usize, method, path, body: Value| {
        let began = Instant::now();
        let reply = service.api(method, path, ACME, &[], body.to_string());
        times[index].push(began.elapsed());
        succeeded(&reply)
    };
    for _ in 0..2000 {
        let started = measure(
            0,
            Method::POST,
            "/session/start",
            json!({"session": {"session_name": "chat"}}),
        );
        let session = &started["session_id"];
        let event = json!({"event": {"session_id": session, "event_name": "answer", "event_type": "model"}});
        measure(1, Method::POST, "/events", event);
        measure(
            2,
            Method::PUT,
            "/events",
            json!({"event_id": session, "metadata": {"key": "value"}}),
        );
    }
    for (name, times) in ["start", "event", "enrichment"].into_iter().zip(&mut times) {
        times.sort();
        let [median, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
        println!("{name}: median {median:?}, p99 {p99:?}");
        assert!(p99 <= Duration::from_millis(5), "{name}: {p99:?}");
    }
}

#[test]
fn a_request_that_never_fits_is_too_large() {
    let service = Service::with_defaults(HONEYHIVE, "[export]\nmax_queue_bytes = \"64KiB\"");
    let body = json!({"session": {"metadata": {"a": "x".repeat(40_000)}}}).to_string();
    assert_eq!(service.api(Method::POST, "/session/start", ACME, &[], body).status, 413);
}

#[test]
fn spans_of_a_client_join_the_session_that_it_started() {
    let service = Service::with_defaults(HONEYHIVE, "");
    service.post_json("/session/start", &json!({"session": {"session_id": ID}}));
    let mut request = spans(&["answer"]);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.push(attribute("honeyhive.session_id", ID));
    assert_eq!(service.post(ACME, &[], request.encode_to_vec()).status, 200);
    service.flush();
    let project = service.project("acme");
    assert_eq!(project.session(ID).unwrap().origin, SessionOrigin::Started);
    assert_eq!(project.spans_of_session(ID)[0].name, "answer");
}

#[test]
fn without_a_session_api_a_session_and_its_events_become_one_trace() {
    let service = Service::start("");
    let [inner, child] = [
        "0af76519-16cd-43dd-8448-eb211c80319d",
        "0af76519-16cd-43dd-9448-eb211c80319e",
    ];
    service.post_json(
        "/session/start",
        &json!({"session": {"session_id": ID, "session_name": "chat", "source": "canary", "metadata": {"plan": "pro"}}}),
    );
    for (id, parent, error) in [
        (EVENT, json!(null), json!(null)),
        (inner, json!(EVENT), json!(null)),
        (child, json!(inner), json!("it broke")),
    ] {
        let event = json!({
            "event_id": id, "session_id": ID, "parent_id": parent, "event_name": format!("event {id}"), "event_type": "model",
            "start_time": 1_700_000_000_000_u64, "duration": 250.5, "inputs": {"q": "?"}, "error": error,
        });
        service.post_json("/events", &json!({ "event": event }));
    }
    service.put_json(
        "/events",
        &json!({"event_id": ID, "feedback": {"rating": 5}, "duration": 1234.5}),
    );
    service.flush();
    let project = service.project("acme");
    assert!(project.sessions().is_empty() && project.events().is_empty());
    assert!(
        service
            .collector
            .requests()
            .iter()
            .all(|request| request.path == "/v1/traces")
    );
    let span = |name: &str| project.span_named(name).unwrap();
    let events = [EVENT, inner, child].map(|id| span(&format!("event {id}")));
    let (start, enrich) = (span("session.start"), span("session.enrich"));
    let parents = [events[0], events[1], events[2], enrich].map(|span| span.parent_span_id.clone().unwrap());
    assert_eq!(
        parents,
        [&start.span_id, &events[0].span_id, &events[1].span_id, &start.span_id].map(Clone::clone)
    );
    assert_eq!(start.parent_span_id, None);
    for each in project.spans() {
        assert_eq!(each.trace_id, ID.replace('-', ""));
        assert_eq!(
            (&each.attributes["session.id"], each.duplicate_attributes),
            (&json!(ID), 0)
        );
    }
    let is = |span: &tracer_registry_collector::Span, name: &str, value: Value| {
        assert_eq!(span.attributes.get(name), Some(&value), "{name}");
    };
    is(start, "tracer_registry.session.name", json!("chat"));
    is(start, "tracer_registry.session.metadata.plan", json!("pro"));
    assert_eq!(
        start.resource.attributes["deployment.environment.name"],
        json!("canary")
    );
    is(enrich, "tracer_registry.session.feedback.rating", json!(5));
    is(enrich, "tracer_registry.session.duration_ms", json!(1234.5));
    is(events[2], "gen_ai.operation.name", json!("chat"));
    is(events[2], "tracer_registry.inputs.q", json!("?"));
    is(events[2], "tracer_registry.event.id", json!(child));
    assert!(format!("{:?}", events[2].status).contains("it broke"));
    assert_eq!(events[0].start_unix_nanos, 1_700_000_000_000_000_000);
    assert_eq!(events[0].end_unix_nanos - events[0].start_unix_nanos, 250_500_000);
    let ledger = service.tracer_status("acme").spans;
    assert_eq!((ledger.accepted, ledger.delivered), (5, 5));
}

#[test]
fn a_backend_that_creates_sessions_from_spans_gets_the_start_as_one() {
    let service = Service::with_defaults(
        "backend = 'honeyhive'\nsessions = 'auto_create'\nsource = 'production'",
        "",
    );
    let session =
        json!({"session_id": ID, "session_name": "chat", "metadata": {"honeyhive.project": "kept as metadata"}});
    service.post_json("/session/start", &json!({ "session": session }));
    service.flush();
    let project = service.project("acme");
    let session = project.session(ID).unwrap();
    assert_eq!(
        (session.origin, session.name.as_deref()),
        (SessionOrigin::AutoCreated, Some("chat"))
    );
    let span = project.span_named("session.start").unwrap();
    assert_eq!(span.attributes["honeyhive.source"], json!("production"));
    assert!(!span.attributes.contains_key("honeyhive.project"));
    assert_eq!(
        span.attributes["honeyhive_metadata.honeyhive.project"],
        json!("kept as metadata")
    );
}

#[test]
fn a_client_may_check_its_credential() {
    let service = Service::start("");
    let ask = |authorization: Option<&str>, path: &str, tenant: Option<&str>| {
        let mut request = Request::get(format!("http://{}{path}", service.http()));
        for (name, value) in [("authorization", authorization), ("x-tenant", tenant)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        service.client.send(request.body(Bytes::new()).unwrap())
    };
    let address = format!("http://{}", service.http());
    for (authorization, path, tenant, name) in [
        (ACME, "/v1/info", None, "tenant:acme"),
        (&*format!("Bearer {GLOBEX}"), "/v1/info", None, "tenant:globex"),
        (SHARED, "/v1/info", Some("acme"), "tenant:acme"),
        (PATHS, "/t/globex/v1/info", None, "tenant:globex"),
        // A client that checks its credential cannot name a tenant.
        (SHARED, "/v1/info", None, "shared-api"),
        (PATHS, "/v1/info", None, "path-api"),
        (SPLIT, "/v1/info", None, "split-api"),
    ] {
        let answer = succeeded(&ask(Some(authorization), path, tenant));
        assert_eq!(answer, json!({"project_name": name, "project_url": address}), "{path}");
    }
    for (authorization, path, tenant, status) in [
        (None, "/v1/info", None, 401),
        (Some("wrong-token"), "/v1/info", None, 401),
        (Some(SHARED), "/v1/info", Some("initech"), 403),
        (Some(ACME), "/t/globex/v1/info", None, 403),
    ] {
        let reply = ask(authorization, path, tenant);
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, status, "{answer}");
        assert_eq!(answer["detail"], answer["message"]);
        assert!(!answer.to_string().contains("globex"));
    }
    assert_eq!(service.api(Method::POST, "/v1/info", ACME, &[], "{}").status, 405);
    let shared = service
        .gateway()
        .callers()
        .into_iter()
        .find(|caller| caller.caller == "shared-api")
        .unwrap();
    assert_eq!(
        (shared.requests, shared.refused),
        (0, [("tenant_not_allowed", 1)].into())
    );
}
