//! gRPC status: requests that only claim to be calls, and calls without a readable status.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use http::response::Builder;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::tower::PropagationLayer;
use tracer_registry_collector::{Span, StatusCode};

use super::client::{attribute, header_source, wait_for_ended};
use crate::support::World;

const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn head(headers: &[(&str, &str)]) -> Builder {
    let head = Response::builder();
    headers
        .iter()
        .fold(head, |head, (name, value)| head.header(*name, *value))
}

/// A message body, with `grpc-status` trailers if given.
fn message(trailers: Option<&'static str>) -> Body {
    let trailers = trailers.map(|code| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().expect("a value"));
        Frame::trailers(trailers)
    });
    let frames = [Some(Frame::data(Bytes::from("one"))), trailers];
    let frames = frames.into_iter().flatten().map(Ok::<_, Infallible>);
    Body::new(StreamBody::new(stream::iter(frames)))
}

async fn answer<B>(request: Request<B>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let endless = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let response = match path {
        "/a.B/Hang" => std::future::pending().await,
        "/a.B/Fine" => head(&[GRPC]).body(message(Some("0"))),
        "/a.B/Silent" => head(&[GRPC]).body(message(None)),
        "/a.B/Large" => head(&[GRPC]).body(message(Some("300"))),
        "/a.B/InHead" => head(&[GRPC, ("grpc-status", "5")]).body(endless()),
        "/a.B/Gateway" => head(&[]).status(503).body(message(None)),
        path if path.starts_with("/unknown") => head(&[GRPC, ("grpc-status", "12")]).body(Body::empty()),
        _ => head(&[("content-type", "text/plain")]).body(message(None)),
    };
    Ok(response.expect("a response"))
}

fn request(path: &str) -> Request<Body> {
    let request = Request::post(format!("http://other.example{path}")).header("x-tenant", "acme");
    request.header(GRPC.0, GRPC.1).body(Body::empty()).expect("a request")
}

/// Returns the name, the gRPC code, `error.type` and the span status.
fn outcome(span: &Span) -> (&str, &Value, &Value, StatusCode) {
    let code = attribute(span, "rpc.grpc.status_code");
    (&span.name, code, attribute(span, "error.type"), span.status.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_grpc_content_type_is_a_call_only_if_the_service_answers_with_grpc() {
    let world = World::new(&["acme"]);
    let service = header_source(&world).layer(tower::service_fn(answer::<Body>));
    for path in ["/x/random", "/unknown.Service/Random", "/a.B/Fine"] {
        let response = service.clone().oneshot(request(path)).await.expect("an answer");
        response.into_body().collect().await.expect("a body");
    }
    let hanging = service.clone().oneshot(request("/a.B/Hang"));
    assert!(futures_util::FutureExt::now_or_never(hanging).is_none());
    wait_for_ended(&world, "acme", 4);
    let project = world.project("acme");
    let span_of = |path: &str| {
        let span = project.spans().iter().find(|span| attribute(span, "url.path") == path);
        span.expect("one span for each path")
    };
    let (http, unknown, fine, hung) = (
        span_of("/x/random"),
        span_of("/unknown.Service/Random"),
        span_of("/a.B/Fine"),
        span_of("/a.B/Hang"),
    );
    assert_eq!(outcome(http), ("POST", &Value::Null, &Value::Null, StatusCode::Unset));
    assert_eq!(attribute(http, "rpc.system"), &Value::Null);
    assert_eq!(attribute(http, "http.response.status_code"), 200);
    assert_eq!(
        outcome(unknown),
        ("POST", &json!(12), &json!("UNIMPLEMENTED"), StatusCode::Error)
    );
    assert_eq!(outcome(fine), ("a.B/Fine", &json!(0), &Value::Null, StatusCode::Unset));
    assert_eq!(outcome(hung), ("POST", &json!(1), &Value::Null, StatusCode::Unset));
    for call in [unknown, fine, hung] {
        assert_eq!(attribute(call, "rpc.system"), "grpc");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_readable_status_is_unknown_and_a_status_in_the_head_is_kept() {
    let world = World::new(&["acme"]);
    let server = header_source(&world).layer(tower::service_fn(answer::<Body>));
    let client = PropagationLayer::new()
        .with_spans()
        .layer(tower::service_fn(answer::<Body>));
    let (unknown, none, error) = (json!("UNKNOWN"), Value::Null, StatusCode::Error);
    let acme = world.tenant("acme");
    let mut count = 0;
    for (path, server_outcome, client_outcome) in [
        ("/a.B/Silent", (json!(2), &unknown, error), (json!(2), &unknown, error)),
        ("/a.B/Large", (json!(2), &unknown, error), (json!(2), &unknown, error)),
        // The body is dropped unread.
        (
            "/a.B/InHead",
            (json!(5), &none, StatusCode::Unset),
            (json!(5), &json!("NOT_FOUND"), error),
        ),
        (
            "/a.B/Gateway",
            (Value::Null, &json!("503"), error),
            (Value::Null, &json!("503"), error),
        ),
    ] {
        let read = async |body: axum::body::Body| {
            if path != "/a.B/InHead" {
                let mut frames = body.into_data_stream();
                while frames.next().await.is_some() {}
            }
        };
        let response = server.clone().oneshot(request(path)).await.expect("an answer");
        read(Body::new(response.into_body())).await;
        count += 1;
        wait_for_ended(&world, "acme", count);
        let response = acme
            .scope(client.clone().oneshot(request(path)))
            .await
            .expect("an answer");
        read(Body::new(response.into_body())).await;
        count += 1;
        wait_for_ended(&world, "acme", count);
        let project = world.project("acme");
        let [.., server, client] = project.spans() else {
            panic!("spans of server and client");
        };
        for (span, (code, error_type, status)) in [(server, server_outcome), (client, client_outcome)] {
            let (_, code_found, error_found, status_found) = outcome(span);
            assert_eq!(
                (code_found, error_found, status_found),
                (&code, error_type, status),
                "{path} {:?}",
                span.kind
            );
        }
    }
}
