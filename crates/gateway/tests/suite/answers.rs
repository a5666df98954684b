//! Refusals in each format.

use bytes::Bytes;
use http::Method;
use prost::Message as _;
use serde_json::Value;

use crate::requests::EXPORT;
use crate::support::{ACME, PATHS, Reply, SHARED, SPLIT, Service, body, framed, resources};

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

struct Case {
    name: &'static str,
    token: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    /// Status of HTTP, code in the body, and status of gRPC.
    expected: (u16, i32, i32),
}

fn cases() -> Vec<Case> {
    let case = |name, token, headers, body, expected| Case {
        name,
        token,
        headers,
        body,
        expected,
    };
    let unknown = resources(&[(&[("tenant.id", "initech")], &["span"])]).encode_to_vec();
    vec![
        case("malformed body", ACME, &[], b"\xff\xff".to_vec(), (400, 3, 3)),
        case(
            "unknown credential",
            "no-such-token",
            &[],
            body(&["span"]),
            (401, 16, 16),
        ),
        case(
            "two credentials",
            ACME,
            &[("x-api-key", ACME)],
            body(&["span"]),
            (400, 3, 3),
        ),
        case("no tenant header", SHARED, &[], body(&["span"]), (400, 3, 3)),
        case(
            "repeated tenant header",
            SHARED,
            &[("x-tenant", "acme"), ("x-tenant", "acme")],
            body(&["span"]),
            (400, 3, 3),
        ),
        case(
            "folded tenant header",
            SHARED,
            &[("x-tenant", "acme, globex")],
            body(&["span"]),
            (403, 7, 7),
        ),
        case(
            "other tenant",
            SHARED,
            &[("x-tenant", "initech")],
            body(&["span"]),
            (403, 7, 7),
        ),
        case(
            "unknown tenant of a pattern",
            SHARED,
            &[("x-tenant", "team-a")],
            body(&["span"]),
            (403, 7, 7),
        ),
        case(
            "encoded tenant",
            SHARED,
            &[("x-tenant", "acm%65")],
            body(&["span"]),
            (403, 7, 7),
        ),
        case("other tenant of a resource", SPLIT, &[], unknown, (403, 7, 7)),
        case("no tenant in the path", PATHS, &[], body(&["span"]), (400, 3, 3)),
    ]
}

#[test]
fn each_refusal_has_its_status_in_each_format() {
    let service = Service::start("");
    for case in cases() {
        let (status, code, grpc) = case.expected;
        let reply = service.post(case.token, case.headers, case.body.clone());
        assert_eq!(reply.status, status, "{}: {reply:?}", case.name);
        assert_eq!(
            reply.header("content-type"),
            Some("application/x-protobuf"),
            "{}",
            case.name
        );
        let body = RpcStatus::decode(reply.body.clone()).unwrap();
        assert_eq!(body.code, code, "{}", case.name);
        assert!(!body.message.is_empty());
        assert_eq!(reply.header("retry-after"), None);

        let reply = service.call(EXPORT, case.token, case.headers, framed(false, &case.body));
        assert_eq!(
            (reply.status, reply.grpc_status()),
            (200, grpc),
            "{}: {reply:?}",
            case.name
        );
        assert_eq!(reply.header("content-type"), Some("application/grpc"));
        assert_eq!(reply.header("grpc-status-details-bin"), None, "{}", case.name);
    }
    service.flush();
    assert!(service.spans("acme").is_empty() && service.spans("globex").is_empty());
}

#[test]
fn a_refusal_of_json_is_json() {
    let service = Service::start("");
    let request = service
        .request("/v1/traces", "no-such-token")
        .header("content-type", "application/json");
    let reply = service.client.send(request.body(Bytes::from_static(b"{}")).unwrap());
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (401, Some("application/json"))
    );
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["code"], 16);
}

#[test]
fn missing_malformed_and_unknown_credentials_have_one_answer() {
    let service = Service::start("");
    let send = |headers: &[(&str, &str)]| -> (u16, Bytes, Option<String>) {
        let mut request = http::Request::post(format!("http://{}/v1/traces", service.http()))
            .header("content-type", "application/x-protobuf");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = service.client.send(request.body(body(&["span"]).into()).unwrap());
        (
            reply.status,
            reply.body.clone(),
            reply.header("www-authenticate").map(str::to_owned),
        )
    };
    let missing = send(&[]);
    assert_eq!(missing.0, 401);
    for headers in [
        &[("authorization", "Bearer")][..],
        &[("authorization", "Bearer wrong-wrong-wrong")],
        &[("authorization", "Basic %%%")],
        &[("x-api-key", "wrong-wrong-wrong")],
        &[("x-tenant", "acme")],
    ] {
        assert_eq!(send(headers), missing, "{headers:?}");
    }
}

#[test]
fn paths_methods_types_and_encodings_are_refused_by_their_status() {
    let service = Service::start("");
    let send = |method: Method, path: &str, headers: &[(&str, &str)]| -> Reply {
        let mut request = service.request(path, ACME).method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        service.client.send(request.body(body(&["span"]).into()).unwrap())
    };
    let protobuf = ("content-type", "application/x-protobuf");
    for (method, path, headers, status) in [
        (Method::POST, "/", &[protobuf][..], 404),
        (Method::POST, "/v1/trace", &[protobuf], 404),
        (Method::POST, "/v1/metrics", &[protobuf], 404),
        (Method::POST, "/v1/logs", &[protobuf], 404),
        (Method::PUT, "/v1/traces", &[protobuf], 405),
        (Method::GET, "/v1/traces", &[protobuf], 405),
        (Method::POST, "/healthz", &[protobuf], 405),
        (Method::POST, "/v1/traces", &[], 415),
        (Method::POST, "/v1/traces", &[("content-type", "text/plain")], 415),
        (Method::POST, "/v1/traces", &[("content-type", "application/grpc")], 415),
        (
            Method::POST,
            "/v1/traces",
            &[protobuf, ("content-encoding", "deflate")],
            415,
        ),
        (
            Method::POST,
            "/v1/traces",
            &[protobuf, ("content-encoding", "gzip, gzip")],
            415,
        ),
        (Method::POST, "/t/globex/v1/traces", &[protobuf], 403),
        (Method::POST, "/t/acm%65/../globex/v1/traces", &[protobuf], 403),
        (Method::POST, "/%74/globex/v1/traces", &[protobuf], 403),
        (Method::POST, "/t/acme/v1/traces", &[protobuf], 200),
    ] {
        let reply = send(method.clone(), path, headers);
        assert_eq!(reply.status, status, "{method} {path} {headers:?}: {reply:?}");
    }
    for (path, methods) in [
        ("/v1/traces", "POST"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
    ] {
        assert_eq!(
            send(Method::PUT, path, &[protobuf]).header("allow"),
            Some(methods),
            "{path}"
        );
    }
    assert_eq!(service.status().other_signals.refused, 2);
}

#[test]
fn unknown_methods_of_grpc_are_unimplemented() {
    let service = Service::start("");
    for method in [
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Other",
        "/v1/traces",
        "/healthz",
    ] {
        assert_eq!(
            service.call(method, ACME, &[], framed(false, b"")).grpc_status(),
            12,
            "{method}"
        );
    }
    let reply = service.call(EXPORT, ACME, &[("grpc-encoding", "snappy")], framed(true, b"x"));
    assert_eq!(reply.grpc_status(), 12);
    assert_eq!(reply.header("grpc-accept-encoding"), Some("identity,gzip,zstd"));
    for body in [
        &b""[..],
        b"\0\0\0\0",
        &framed(true, b"x"),
        &framed(false, b"")[..4],
        b"\0\0\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(
            service.call(EXPORT, ACME, &[], body.to_vec()).grpc_status(),
            3,
            "{body:?}"
        );
    }
}

#[test]
fn other_signals_may_be_discarded() {
    let service = Service::start("other_signals = \"discard\"");
    let metrics = |token: &str| {
        let request = service
            .request("/v1/metrics", token)
            .header("content-type", "application/x-protobuf");
        service
            .client
            .send(request.body(Bytes::from_static(b"anything")).unwrap())
    };
    assert_eq!((metrics(ACME).status, metrics("no-such-token").status), (200, 401));
    let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let reply = service.call(logs, ACME, &[], framed(false, b"anything"));
    assert_eq!((reply.grpc_status(), &reply.body[..]), (0, &framed(false, b"")[..]));
    let status = service.status();
    assert_eq!((status.other_signals.discarded, status.other_signals.refused), (2, 0));
    assert_eq!(status.requests.spans_accepted, 0);
}

#[test]
fn health_needs_no_credential() {
    let service = Service::start("");
    for path in ["/healthz", "/readyz"] {
        let request = http::Request::get(format!("http://{}{path}", service.http()));
        let reply = service.client.send(request.body(Bytes::new()).unwrap());
        assert_eq!((reply.status, &reply.body[..]), (200, &b"ok\n"[..]), "{path}");
    }
}

#[test]
fn a_tenant_whose_key_cannot_be_read_may_be_tried_again() {
    let service = Service::start("");
    std::fs::remove_file(service.path("keys/acme")).unwrap();
    let reply = service.post(ACME, &[], body(&["span"]));
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1")),
        "{reply:?}"
    );
    assert_eq!(RpcStatus::decode(reply.body).unwrap().code, 14);
    let reply = service.call(EXPORT, ACME, &[], framed(false, &body(&["span"])));
    assert_eq!(reply.grpc_status(), 14);
    let details = base64_decoded(reply.header("grpc-status-details-bin").unwrap());
    let details = RpcStatus::decode(&details[..]).unwrap();
    assert_eq!(details.code, 14);
    assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    // The other tenant is not affected, and this one works once its key is there.
    std::fs::write(service.path("keys/acme"), "backend-key-of-acme").unwrap();
    assert_eq!(service.post(ACME, &[], body(&["span"])).status, 200);
}

fn base64_decoded(text: &str) -> Vec<u8> {
    use base64::Engine as _;

    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).unwrap()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exported {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<Partial>,
}

#[test]
fn spans_that_are_too_large_are_a_partial_success() {
    let service = Service::with("", "[tenants.acme.limits]\nspan_bytes = \"200B\"");
    let large = "n".repeat(300);
    let reply = service.post(ACME, &[], body(&["small", &large]));
    assert_eq!(reply.status, 200);
    let partial = Exported::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(!partial.error_message.is_empty());
    service.flush();
    assert_eq!(service.spans("acme"), ["small"]);
}
