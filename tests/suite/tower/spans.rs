//! Attributes and names of request spans.

use axum::Router;
use axum::extract::MatchedPath;
use axum::routing::{any, get};
use http::StatusCode;
use http::uri::Scheme;
use serde_json::{Value, json};
use tracer_registry_collector::{Span, SpanKind, StatusCode as SpanStatus};

use super::client::{Server, attribute, get_as, header_source, path, wait_for_ended};
use crate::support::World;

fn service(world: &World) -> Router {
    let layer = header_source(world).route(|request| request.extensions.get().map(MatchedPath::as_str));
    Router::new()
        .route("/orders/{id}", any(async || "ok"))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY))
        .route("/none", get(async || StatusCode::NOT_FOUND))
        .layer(layer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_span_follows_the_conventions_and_has_no_secrets() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world)).await;
    let headers = [
        ("x-tenant", "acme"),
        ("user-agent", "a test"),
        ("authorization", "Bearer s3cret"),
        ("cookie", "s3cret"),
    ];
    server.get("/orders/7?token=s3cret", &headers).await.text();
    wait_for_ended(&world, "acme", 1);
    let span = world.span("acme", "GET /orders/{id}");
    let expected = json!({
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/orders/{id}",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": server.address.port(),
        "url.path": "/orders/7",
        "url.scheme": "http",
        "user_agent.original": "a test",
    });
    let attributes: serde_json::Map<String, Value> = span
        .attributes
        .iter()
        .filter(|(name, _)| !name.starts_with("honeyhive"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert_eq!(Value::Object(attributes), expected);
    assert_eq!((span.kind, span.status.code), (SpanKind::Server, SpanStatus::Unset));
    world.assert_no_trace_of("s3cret", "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_method_is_reported_as_other() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world).layer(axum::middleware::from_fn(pass))).await;
    server.send("BREW", "/orders/7", &[("x-tenant", "acme")]).await;
    wait_for_ended(&world, "acme", 1);
    let span = world.span("acme", "HTTP /orders/{id}");
    assert_eq!(attribute(&span, "http.request.method"), "_OTHER");
    assert_eq!(attribute(&span, "http.request.method_original"), "BREW");
}

async fn pass(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_5xx_status_is_an_error_and_a_4xx_status_is_not() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world)).await;
    get_as(&server, "acme", "/broken").await;
    get_as(&server, "acme", "/none").await;
    wait_for_ended(&world, "acme", 2);
    let outcome = |name: &str| {
        let span = world.span("acme", name);
        let error_type = attribute(&span, "error.type").as_str().map(str::to_owned);
        (
            attribute(&span, "http.response.status_code").as_u64(),
            error_type,
            span.status.code,
        )
    };
    assert_eq!(
        outcome("GET /broken"),
        (Some(502), Some("502".to_owned()), SpanStatus::Error)
    );
    assert_eq!(outcome("GET /none"), (Some(404), None, SpanStatus::Unset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_values_from_the_client_are_cut() {
    let world = World::new(&["acme"]);
    let layer = header_source(&world).scheme(Scheme::HTTPS);
    let server = Server::start(Router::new().fallback(async || "ok").layer(layer)).await;
    let long = "ä".repeat(3_000);
    let segment = "x".repeat(3_000);
    let headers = [
        ("x-tenant", "acme"),
        ("user-agent", segment.as_str()),
        ("x-other", &long),
    ];
    server.get(&format!("/{segment}"), &headers).await.text();
    wait_for_ended(&world, "acme", 1);
    let span: &Span = &world.span("acme", "GET");
    assert_eq!(path(span).len(), 1024);
    assert_eq!(
        attribute(span, "user_agent.original").as_str().map(str::len),
        Some(1024)
    );
    assert_eq!(attribute(span, "url.scheme"), "https");
}
