//! Requests with a spool: their answer comes once their data is on disk. A store in memory commits
//! when the test says so.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, Scope};

use bytes::Bytes;
use http::{Method, Request};
use prost::Message as _;
use serde_json::{Value, json};
use tracer_registry::config::SpoolMode;
use tracer_registry::status::LedgerSnapshot;
use tracer_registry_collector::Fault;
use tracer_registry_spool::test::TestStore;
use tracer_registry_spool::{AppendError, Kind};

use crate::limits::Raw;
use crate::requests::EXPORT;
use crate::support::{ACME, GLOBEX, LONG, Reply, SPLIT, Service, body, framed, resources, until};

const SESSION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const HONEYHIVE: &str = "backend = 'honeyhive'";

/// Formats of a request with one span, or of one to the session API.
const FORMATS: [&str; 4] = ["protobuf", "JSON", "gRPC", "session"];

fn through(defaults: &'static str) -> (Service, Arc<TestStore>) {
    let store = Arc::new(TestStore::new());
    let service = Service::on_store(SpoolMode::Through, &store, defaults, "");
    (service, store)
}

/// Sends one span, or the start of a session.
fn send(service: &Service, format: &str) -> Reply {
    let post_json = |path: &str, body: &Value| {
        let request = service.request(path, ACME).header("content-type", "application/json");
        service.client.send(request.body(body.to_string().into()).unwrap())
    };
    match format {
        "protobuf" => service.post(ACME, &[], body(&["protobuf"])),
        "gRPC" => service.call(EXPORT, ACME, &[], framed(false, &body(&["gRPC"]))),
        "session" => post_json("/session/start", &json!({"session": {"session_id": SESSION}})),
        _ => {
            let span =
                json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "JSON"});
            post_json(
                "/v1/traces",
                &json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}),
            )
        }
    }
}

/// Returns the status that HTTP has, or that gRPC's has in HTTP.
fn status(reply: &Reply, format: &str) -> u16 {
    match (format, reply.status) {
        ("gRPC", 200) => match reply.grpc_status() {
            0 => 200,
            7 => 403,
            14 => 503,
            other => panic!("status {other} of gRPC"),
        },
        (_, status) => status,
    }
}

/// Sends a request on another thread.
fn start<'s>(scope: &'s Scope<'s, '_>, request: impl FnOnce() -> Reply + Send + 's) -> Receiver<Reply> {
    let (done, reply) = channel();
    scope.spawn(move || drop(done.send(request())));
    reply
}

/// Makes requests that need no disk, so that an answer which waits for nothing would be there.
fn ask_health(service: &Service) {
    for _ in 0..20 {
        let request = Request::get(format!("http://{}/healthz", service.http()));
        assert_eq!(service.client.send(request.body(Bytes::new()).unwrap()).status, 200);
    }
}

fn ledgers(service: &Service, tenant: &str) -> [LedgerSnapshot; 2] {
    let selector = format!("tenant:{tenant}");
    let mut tracers = service.gateway().registry().status().tracers.into_iter();
    let of_tenant = tracers.find(|tracer| tracer.selector.to_string() == selector);
    of_tenant.map_or_else(Default::default, |tracer| [tracer.spans, tracer.session_events])
}

#[test]
fn an_answer_comes_after_the_commit_in_each_format() {
    let (service, store) = through(HONEYHIVE);
    let accepted = || ledgers(&service, "acme").map(|ledger| ledger.accepted);
    for format in FORMATS {
        let before = accepted();
        store.hold();
        thread::scope(|scope| {
            let reply = start(scope, || send(&service, format));
            assert!(store.wait_for_waiting(1), "{format}");
            ask_health(&service);
            assert_eq!(reply.try_recv().err(), Some(TryRecvError::Empty), "{format}");
            assert_eq!(accepted(), before, "{format}");
            // The memory of a request is held until its answer.
            assert!(service.status().memory.used > 0, "{format}");
            store.resume();
            assert_eq!(status(&reply.recv_timeout(LONG).unwrap(), format), 200, "{format}");
        });
    }
    assert_eq!(service.status().requests.succeeded, 4);
    service.flush();
    assert_eq!(service.spans("acme"), ["JSON", "gRPC", "protobuf"]);
    assert!(service.collector.project("acme").unwrap().session(SESSION).is_some());
    assert!(store.wait_for_rows(0), "{:?}", store.all());
}

#[test]
fn data_of_a_client_that_leaves_before_the_commit_is_sent() {
    let (service, store) = through("backend = 'otlp'");
    store.hold();
    let mut client = Raw::connect(service.http());
    let body = body(&["left"]);
    client.write_head(ACME, body.len());
    client.write(&body);
    assert!(store.wait_for_waiting(1));
    drop(client);
    until(|| service.status().requests.abandoned == 1);
    assert_eq!(service.status().memory.used, 0);
    store.resume();
    assert!(service.collector.wait_until(LONG, |collector| {
        collector
            .project("acme")
            .is_some_and(|project| project.spans().len() == 1)
    }));
    assert_eq!(service.spans("acme"), ["left"]);
    service.flush();
    assert_eq!(ledgers(&service, "acme")[0].delivered, 1);
    let counted = || {
        let callers = service.gateway().callers();
        let acme = callers.iter().find(|caller| caller.caller == "acme-backend").unwrap();
        (acme.requests, acme.spans, service.status().requests.spans_accepted)
    };
    until(|| counted() == (1, 1, 1));
    assert_eq!(service.status().requests.succeeded, 0, "it was not answered");
}

#[test]
fn all_parts_of_a_split_request_are_on_disk_or_none() {
    let (service, store) = through("backend = 'otlp'");
    let both = resources(&[
        (&[("tenant.id", "acme")], &["of acme"]),
        (&[("tenant.id", "globex")], &["of globex"]),
    ])
    .encode_to_vec();
    store.fill_owner("globex", true);
    let reply = service.post(SPLIT, &[], both.clone());
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1")),
        "{reply:?}"
    );
    assert_eq!(service.post(GLOBEX, &[], body(&["alone"])).status, 503);
    for tenant in ["acme", "globex"] {
        assert_eq!(ledgers(&service, tenant)[0], LedgerSnapshot::default(), "{tenant}");
    }
    assert!(store.all().is_empty());
    // Others have room.
    assert_eq!(service.post(ACME, &[], body(&["alone"])).status, 200);
    store.fill_owner("globex", false);
    store.hold();
    thread::scope(|scope| {
        let reply = start(scope, || service.post(SPLIT, &[], both));
        assert!(store.wait_for_waiting(1), "one append has both parts");
        store.commit(1);
        assert_eq!(reply.recv_timeout(LONG).unwrap().status, 200);
    });
    service.flush();
    assert_eq!(service.spans("acme"), ["alone", "of acme"]);
    assert_eq!(service.spans("globex"), ["of globex"]);
}

#[test]
fn a_disk_that_takes_nothing_is_503_and_an_erased_tenant_is_403_in_each_format() {
    let (service, store) = through(HONEYHIVE);
    for (error, expected) in [
        (AppendError::Busy, 503),
        (AppendError::Full, 503),
        (AppendError::OwnerFull("acme".into()), 503),
        (AppendError::Erased("tenant:acme".into()), 403),
    ] {
        store.fail(Some(error.clone()));
        for format in FORMATS {
            let reply = send(&service, format);
            assert_eq!(status(&reply, format), expected, "{format}, {error}: {reply:?}");
            let hint = if format == "gRPC" {
                "grpc-status-details-bin"
            } else {
                "retry-after"
            };
            assert_eq!(reply.header(hint).is_some(), expected == 503, "{format}, {error}");
        }
    }
    store.break_disk();
    for format in FORMATS {
        assert_eq!(status(&send(&service, format), format), 503, "{format}");
    }
    let callers = service.gateway().callers();
    let acme = callers.iter().find(|caller| caller.caller == "acme-backend").unwrap();
    assert_eq!(acme.refused, [("erased", 4), ("no_capacity", 16)].into());
    assert_eq!(ledgers(&service, "acme"), <[LedgerSnapshot; 2]>::default());
    store.fail(None);
    until(|| {
        FORMATS
            .iter()
            .all(|format| status(&send(&service, format), format) == 200)
    });
}

#[test]
fn a_request_without_room_in_memory_goes_to_disk() {
    let store = Arc::new(TestStore::new());
    let tables = "[export]\nmax_queue_size = 4";
    let service = Service::on_store(SpoolMode::Overflow, &store, "backend = 'otlp'", tables);
    service.collector.fault(Fault::hang());
    let mut sent = Vec::new();
    while store.rows("tenant:acme", Kind::Spans).is_empty() {
        let name = format!("span {:02}", sent.len());
        assert_eq!(service.post(ACME, &[], body(&[&name])).status, 200);
        sent.push(name);
        assert!(sent.len() < 20, "nothing goes to disk");
    }
    let [ledger, _] = ledgers(&service, "acme");
    assert_eq!(ledger.accepted, sent.len() as u64);
    service.collector.clear_faults();
    assert!(service.collector.wait_until(LONG, |collector| {
        collector
            .project("acme")
            .is_some_and(|project| project.spans().len() >= sent.len())
    }));
    assert_eq!(service.spans("acme"), sent);
    assert!(store.wait_for_rows(0), "{:?}", store.all());
    until(|| ledgers(&service, "acme")[0].delivered == sent.len() as u64);
    let [ledger, _] = ledgers(&service, "acme");
    assert_eq!((ledger.pending(), ledger.spooled, ledger.lost()), (0, 0, 0));
}

#[test]
fn a_request_with_room_in_memory_does_not_wait_for_the_disk() {
    let store = Arc::new(TestStore::new());
    store.hold();
    let service = Service::on_store(SpoolMode::Overflow, &store, HONEYHIVE, "");
    for format in FORMATS {
        assert_eq!(status(&send(&service, format), format), 200, "{format}");
    }
    assert_eq!(store.waiting(), 0);
    service.flush();
    assert_eq!(service.spans("acme").len(), 3);
}

#[test]
fn an_event_of_a_session_follows_its_start_from_the_disk() {
    let (service, store) = through(HONEYHIVE);
    service.collector.fault(Fault::status(503).times(2));
    assert_eq!(status(&send(&service, "session"), "session"), 200);
    for step in 0..5 {
        let delta = json!({"event_id": SESSION, "metadata": {"step": step}});
        let request = service.request("/events", ACME).method(Method::PUT);
        let request = request.header("content-type", "application/json");
        let reply = service.client.send(request.body(delta.to_string().into()).unwrap());
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    service.flush();
    assert_eq!(
        service
            .collector
            .project("acme")
            .unwrap()
            .session(SESSION)
            .unwrap()
            .metadata["step"],
        json!(4)
    );
    assert!(store.wait_for_rows(0), "{:?}", store.all());
}
