//! Requests that succeed, and where their spans land.

use bytes::Bytes;
use http::Request;
use prost::Message as _;

use crate::support::{ACME, GLOBEX, PATHS, SHARED, SPLIT, Service, body, framed, gzip, resources};

pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[test]
fn spans_of_two_tenants_land_in_their_projects() {
    let service = Service::start("");
    for (token, name) in [(ACME, "one"), (GLOBEX, "two"), (ACME, "three")] {
        let reply = service.post(token, &[], body(&[name]));
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/x-protobuf"))
        );
        assert!(reply.body.is_empty(), "a full success is an empty message");
    }
    service.flush();
    assert_eq!(service.spans("acme"), ["one", "three"]);
    assert_eq!(service.spans("globex"), ["two"]);
    let status = service.status();
    assert_eq!((status.requests.succeeded, status.requests.spans_accepted), (3, 3));
    assert_eq!((status.requests.running, status.memory.used), (0, 0));
}

#[test]
fn both_listeners_serve_http_1_http_2_and_grpc() {
    let service = Service::start("");
    for address in [service.http(), service.grpc()] {
        let request = |content_type: &str, path: &str, body: Vec<u8>| {
            Request::post(format!("http://{address}{path}"))
                .header("authorization", format!("Bearer {ACME}"))
                .header("content-type", content_type)
                .body(Bytes::from(body))
                .unwrap()
        };
        let protobuf = || request("application/x-protobuf", "/v1/traces", body(&["span"]));
        assert_eq!(service.client.send(protobuf()).status, 200);
        assert_eq!(service.client.send_http2(protobuf()).status, 200);
        let reply = service
            .client
            .send_http2(request("application/grpc", EXPORT, framed(false, &body(&["span"]))));
        assert_eq!((reply.status, reply.grpc_status()), (200, 0));
        assert_eq!(reply.body, framed(false, b""));
    }
    service.flush();
    assert_eq!(service.spans("acme").len(), 6);
}

#[test]
fn each_encoding_is_inflated() {
    let service = Service::start("");
    let encoded = [
        ("identity", body(&["identity"])),
        ("gzip", gzip(&body(&["gzip"]))),
        ("gzip", [gzip(&body(&["first"])), gzip(&body(&["second"]))].concat()),
        ("zstd", zstd::encode_all(&body(&["zstd"])[..], 3).unwrap()),
    ];
    for (encoding, message) in &encoded {
        let reply = service.post(ACME, &[("content-encoding", encoding)], message.clone());
        assert_eq!(reply.status, 200, "{encoding}: {reply:?}");
    }
    for (encoding, message) in &encoded[1..] {
        let reply = service.call(EXPORT, GLOBEX, &[("grpc-encoding", encoding)], framed(true, message));
        assert_eq!(reply.grpc_status(), 0, "{encoding}: {reply:?}");
    }
    service.flush();
    assert_eq!(service.spans("acme"), ["first", "gzip", "identity", "second", "zstd"]);
    assert_eq!(service.spans("globex"), ["first", "gzip", "second", "zstd"]);
}

#[test]
fn header_resource_and_path_choose_among_what_the_caller_may_address() {
    let service = Service::start("");
    assert_eq!(
        service
            .post(SHARED, &[("x-tenant", "globex")], body(&["header"]))
            .status,
        200
    );
    let both = resources(&[
        (&[("tenant.id", "acme")], &["resource-1", "resource-2"]),
        (&[("tenant.id", "globex")], &["resource-3"]),
    ]);
    assert_eq!(service.post(SPLIT, &[], both.encode_to_vec()).status, 200);
    // The address of a client ends with the tenant, and the client adds its path.
    for (path, span) in [
        ("/t/acme/v1/traces", "path"),
        ("/t/acme/opentelemetry/v1/traces", "path-of-honeyhive"),
        ("/t/acme/api/public/otel/v1/traces", "path-of-langfuse"),
    ] {
        let request = service
            .request(path, PATHS)
            .header("content-type", "application/x-protobuf");
        let reply = service.client.send(request.body(body(&[span]).into()).unwrap());
        assert_eq!(reply.status, 200, "{path} {reply:?}");
    }
    service.flush();
    assert_eq!(
        service.spans("acme"),
        [
            "path",
            "path-of-honeyhive",
            "path-of-langfuse",
            "resource-1",
            "resource-2"
        ]
    );
    assert_eq!(service.spans("globex"), ["header", "resource-3"]);
}

#[test]
fn an_empty_request_needs_no_tenant() {
    let service = Service::start("");
    let reply = service.post(SPLIT, &[], Bytes::new());
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
    assert_eq!(service.call(EXPORT, SPLIT, &[], framed(false, b"")).grpc_status(), 0);
}

#[test]
fn a_request_of_which_one_part_is_refused_queues_nothing() {
    let service = Service::start("");
    for other in [Some("initech"), Some("Acme "), None] {
        let refused: Vec<(&str, &str)> = other.map(|other| ("tenant.id", other)).into_iter().collect();
        let parts = resources(&[(&[("tenant.id", "acme")], &["one"]), (&refused, &["two"])]);
        let reply = service.post(SPLIT, &[], parts.encode_to_vec());
        assert_eq!(reply.status, if other.is_some() { 403 } else { 400 }, "{other:?}");
    }
    service.flush();
    assert!(service.spans("acme").is_empty());
    assert_eq!(service.status().requests.spans_accepted, 0);
}
