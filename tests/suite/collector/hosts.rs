//! Requests with a foreign `Host`: protection against DNS rebinding by web pages.

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tracer_registry_collector::LocalCollector;

use super::client::{Call, call, export, get, post, span};
use super::{collector, span_names};

/// Returns one call per endpoint.
fn calls() -> Vec<Call> {
    let session = json!({ "session": { "session_name": "s" } });
    vec![
        get("/"),
        get("/api/health"),
        get("/api/projects"),
        get("/api/projects/acme/spans"),
        get("/nothing"),
        call("OPTIONS", "/v1/traces"),
        export("key-a", vec![span("one", 1)]),
        post("/session/start").bearer("key-a").json(&session),
        post("/events").bearer("key-a").json(&json!({ "event": {} })),
    ]
}

#[test]
fn every_endpoint_refuses_a_foreign_host() {
    let collector = collector();
    for host in [
        "evil.example",
        "evil.example:4318",
        "127.0.0.1.evil.example",
        "192.0.2.1",
    ] {
        for call in calls() {
            let response = call.host(host).send(&collector).unwrap();
            assert_eq!(response.status, 421, "{host}");
            let text = String::from_utf8_lossy(&response.body).into_owned();
            assert!(
                text.contains(host.split(':').next().unwrap()) && text.contains("--allow-host"),
                "{text}"
            );
        }
    }
    let acme = collector.project("acme").unwrap();
    assert_eq!(
        (acme.summary().requests, acme.sessions().len(), acme.events().len()),
        (0, 0, 0)
    );
}

#[test]
fn loopback_names_and_addresses_are_accepted_as_host() {
    let collector = collector();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:4318", "[::1]:4318"] {
        assert_eq!(get("/api/projects").host(host).status(&collector), 200, "{host}");
        assert_eq!(export("key-a", vec![]).host(host).status(&collector), 200, "{host}");
    }
}

#[test]
fn an_allowed_host_may_send_spans_and_read_pages() {
    let builder = LocalCollector::builder().project("acme", "key-a");
    let collector = builder.allow_host("collector").allow_host("10.1.2.3").start().unwrap();
    for (number, host) in [(1, "collector:4318"), (2, "10.1.2.3")] {
        assert_eq!(
            export("key-a", vec![span("one", number)]).host(host).status(&collector),
            200
        );
        assert_eq!(get("/api/projects/acme/spans").host(host).status(&collector), 200);
    }
    assert_eq!(get("/").host("evil.example").status(&collector), 421);
    assert_eq!(span_names(&collector, "acme"), ["one", "one"]);
    let open = LocalCollector::builder().allow_host("*").start().unwrap();
    assert_eq!(get("/").host("evil.example").status(&open), 200);
}

#[tokio::test]
async fn the_host_is_checked_for_http2_and_grpc_too() {
    let collector = collector();
    let address = collector.addr();
    let connector =
        tower::service_fn(move |_| Box::pin(async move { TcpStream::connect(address).await.map(TokioIo::new) }));
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build::<_, Full<bytes::Bytes>>(connector);
    let send = async |url: &str, content_type: &str| {
        let request = http::Request::post(url)
            .header("content-type", content_type)
            .header("authorization", "Bearer key-a");
        let request = request.body(Full::from(vec![0; 5])).unwrap();
        client.request(request).await.unwrap()
    };
    let export = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let refused = send(&format!("http://evil.example/{export}"), "application/grpc").await;
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["grpc-status"].as_bytes()),
        (200, &b"7"[..])
    );
    let accepted = send(&format!("http://localhost/{export}"), "application/grpc").await;
    let trailers = accepted
        .into_body()
        .collect()
        .await
        .unwrap()
        .trailers()
        .cloned()
        .unwrap();
    assert_eq!(trailers["grpc-status"].as_bytes(), b"0");
    let refused = send("http://evil.example/v1/traces", "application/x-protobuf").await;
    assert_eq!(refused.status(), 421);
}
