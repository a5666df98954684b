//! What the span of a request says.

use axum::Router;
use axum::extract::MatchedPath;
use axum::routing::{any, get};
use http::StatusCode;
use http::uri::Scheme;
use serde_json::{Value, json};
use tracer_registry_collector::{Span, SpanKind, StatusCode as SpanStatus};

use super::client::{Server, attribute, ended, get_as, header_source, path};
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
async fn a_servers_span_says_what_the_conventions_say_and_nothing_that_may_be_secret() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world)).await;
    let headers = [
        ("x-tenant", "acme"),
        ("user-agent", "a test"),
        ("authorization", "Bearer s3cret"),
        ("cookie", "s3cret"),
    ];
    server.get("/orders/7?token=s3cret", &headers).await.text();
    ended(&world, "acme", 1);
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
    let shown: serde_json::Map<String, Value> = span
        .attributes
        .iter()
        .filter(|(name, _)| !name.starts_with("honeyhive"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert_eq!(Value::Object(shown), expected);
    assert_eq!((span.kind, span.status.code), (SpanKind::Server, SpanStatus::Unset));
    world.assert_no_trace_of("s3cret", "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_is_not_known_is_neither_a_name_nor_a_value() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world).layer(axum::middleware::from_fn(pass))).await;
    server.send("BREW", "/orders/7", &[("x-tenant", "acme")]).await;
    ended(&world, "acme", 1);
    let span = world.span("acme", "HTTP /orders/{id}");
    assert_eq!(attribute(&span, "http.request.method"), "_OTHER");
    assert_eq!(attribute(&span, "http.request.method_original"), "BREW");
}

async fn pass(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_of_the_servers_own_fault_is_an_error_and_one_of_the_clients_is_not() {
    let world = World::new(&["acme"]);
    let server = Server::start(service(&world)).await;
    get_as(&server, "acme", "/broken").await;
    get_as(&server, "acme", "/none").await;
    ended(&world, "acme", 2);
    let told = |name: &str| {
        let span = world.span("acme", name);
        let error_type = attribute(&span, "error.type").as_str().map(str::to_owned);
        (
            attribute(&span, "http.response.status_code").as_u64(),
            error_type,
            span.status.code,
        )
    };
    assert_eq!(
        told("GET /broken"),
        (Some(502), Some("502".to_owned()), SpanStatus::Error)
    );
    assert_eq!(told("GET /none"), (Some(404), None, SpanStatus::Unset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_may_make_long_is_cut() {
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
    ended(&world, "acme", 1);
    let span: &Span = &world.span("acme", "GET");
    assert_eq!(path(span).len(), 1024);
    assert_eq!(
        attribute(span, "user_agent.original").as_str().map(str::len),
        Some(1024)
    );
    assert_eq!(attribute(span, "url.scheme"), "https");
}
