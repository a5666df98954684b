//! The span of a request ends when the response body ends, fails or is dropped.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get};
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry_collector::{Span, StatusCode as SpanStatus};

use super::client::{Server, attribute, get_as, header_source, wait_for_ended};
use super::{current, record_span, work};
use crate::support::{LONG, World};

/// Returns `error.type` and the span status.
fn end_of(span: &Span) -> (Option<&str>, SpanStatus) {
    (attribute(span, "error.type").as_str(), span.status.code)
}

/// Creates a span when dropped.
struct SpanOnDrop;

impl Drop for SpanOnDrop {
    fn drop(&mut self) {
        record_span("dropped");
    }
}

/// An empty body that reports its length only in the size hint.
struct EmptyWithHint;

impl http_body::Body for EmptyWithHint {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(None)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(0)
    }
}

/// A stream with one item for each permit, each with its own span. Dropping the stream creates a
/// span.
fn gated(
    permits: &Arc<Semaphore>,
    items: usize,
) -> impl futures_util::Stream<Item = Result<String, io::Error>> + use<> {
    let (permits, span_on_drop) = (Arc::clone(permits), Arc::new(SpanOnDrop));
    stream::iter(0..items).then(move |item| {
        let (permits, span_on_drop) = (Arc::clone(&permits), Arc::clone(&span_on_drop));
        async move {
            let _dropped_with_item = span_on_drop;
            permits.acquire().await.expect("not closed").forget();
            work(format!("item {item}")).await;
            Ok(format!("item {item} of {}\n", current()))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_a_streamed_response_ends_with_the_stream_which_runs_in_its_scope() {
    let world = World::new(&["acme"]);
    let permits = Arc::new(Semaphore::new(0));
    let handler_permits = Arc::clone(&permits);
    let handler = move || std::future::ready(Body::from_stream(gated(&handler_permits, 2)));
    let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\nconnection: close\r\n\r\n";
    permits.add_permits(1);
    let mut connection = server.begin(request, "item 0 of tenant:acme\n").await;
    // The client has the first item; only the item's span has ended.
    wait_for_ended(&world, "acme", 1);
    permits.add_permits(1);
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut connection, &mut rest)
        .await
        .expect("the server closes the connection");
    assert!(rest.contains("item 1 of tenant:acme"), "{rest}");
    wait_for_ended(&world, "acme", 4);
    let span = world.span("acme", "GET");
    assert_eq!(end_of(&span), (None, SpanStatus::Unset));
    for name in ["item 0", "item 1", "dropped"] {
        assert_eq!(world.span("acme", name).parent_span_id.as_ref(), Some(&span.span_id));
    }
    assert!(world.span("acme", "item 1").end_unix_nanos <= span.end_unix_nanos);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_during_the_response_ends_the_span_as_cancelled() {
    let world = World::new(&["acme"]);
    let permits = Arc::new(Semaphore::new(1));
    let handler_permits = Arc::clone(&permits);
    let handler = move || std::future::ready(Body::from_stream(gated(&handler_permits, 1_000)));
    let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\n\r\n";
    drop(server.begin(request, "item 0 of tenant:acme\n").await);
    // One span of the item, one of the destructor, one of the request.
    wait_for_ended(&world, "acme", 3);
    let span = world.span("acme", "GET");
    assert_eq!(end_of(&span), (Some("cancelled"), SpanStatus::Error));
    assert_eq!(attribute(&span, "http.response.status_code"), 200);
    let dropped = world.span("acme", "dropped");
    assert_eq!(
        dropped.parent_span_id.as_ref(),
        Some(&span.span_id),
        "the body is dropped in the scope of the request"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_during_the_request_or_the_wait_ends_the_span() {
    let world = World::new(&["acme"]);
    let connection = Arc::new(Notify::new());
    let waiting = Arc::clone(&connection);
    let handler = move |body: Body| async move {
        let _end = SpanOnDrop;
        let read = body.collect().await;
        waiting.notify_one();
        if read.is_ok() {
            std::future::pending::<()>().await;
        }
        // The client has disconnected.
        StatusCode::BAD_REQUEST
    };
    let server = Server::start(Router::new().route("/", any(handler)).layer(header_source(&world))).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    // The client disconnects while it sends the request.
    drop(server.begin(head, "100 Continue").await);
    wait_for_ended(&world, "acme", 2);
    let partial = world.span("acme", "POST");
    // The handler saw the error of the body and responded, or was dropped before.
    let status = attribute(&partial, "http.response.status_code").as_u64();
    assert!(
        status == Some(400) || end_of(&partial).0 == Some("cancelled"),
        "{partial:#?}"
    );

    // The client disconnects while it waits for the response.
    let mut complete = server.begin(head, "100 Continue").await;
    tokio::io::AsyncWriteExt::write_all(&mut complete, b"123456789")
        .await
        .expect("the server reads");
    tokio::time::timeout(LONG, connection.notified())
        .await
        .expect("in time");
    drop(complete);
    wait_for_ended(&world, "acme", 4);
    let project = world.project("acme");
    let last = project.spans_named("POST").last().expect("two requests");
    assert_eq!(end_of(last), (Some("cancelled"), SpanStatus::Error));
    assert_eq!(attribute(last, "http.response.status_code"), &serde_json::Value::Null);
    let dropped = project.spans_named("dropped").last().expect("two requests");
    assert_eq!(
        dropped.parent_span_id.as_ref(),
        Some(&last.span_id),
        "the handler is dropped in the scope of the request"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_body_or_a_panic_ends_the_span_as_an_error_and_propagates() {
    let world = World::new(&["acme", "globex"]);
    let failing = async || Body::from_stream(stream::iter([Ok("some"), Err(io::Error::other("the disk is gone"))]));
    let panicking = async || {
        Body::from_stream(stream::iter([0, 1]).map(|item| {
            assert_eq!(item, 0, "in the body");
            Ok::<_, Infallible>("some")
        }))
    };
    let router = Router::new()
        .route("/fails", get(failing))
        .route("/panics", get(panicking))
        .route("/handler", get(async || -> &'static str { panic!("in the handler") }))
        .route("/fine", get(async || current()))
        .layer(header_source(&world));
    let server = Server::start(router).await;
    for (path, error, status) in [
        ("/fails", "axum_core::error::Error", Some(200)),
        ("/panics", "panic", Some(200)),
        ("/handler", "panic", None),
    ] {
        assert!(
            server.send("GET", path, &[("x-tenant", "acme")]).await.is_none(),
            "the connection must break"
        );
        assert_eq!(get_as(&server, "globex", "/fine").await.text(), "tenant:globex");
        tokio::task::block_in_place(|| {
            let found = || world.status("acme").spans.accepted;
            crate::support::wait_for("the span ends", found, |ended| *ended > 0);
            world.flush();
        });
        let project = world.project("acme");
        let span = project.spans().last().expect("one span for each request");
        assert_eq!(end_of(span), (Some(error), SpanStatus::Error), "{path}");
        assert_eq!(attribute(span, "http.response.status_code").as_u64(), status, "{path}");
        assert_eq!(attribute(span, "url.path"), path);
        world
            .registry
            .remove(tracer_registry::Selector::tenant("acme"))
            .expect("a name");
    }
    wait_for_ended(&world, "acme", 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_body_is_never_polled_is_not_cancelled() {
    let world = World::new(&["acme"]);
    let long = async || Body::from_stream(stream::iter([Ok::<_, Infallible>("never polled")]));
    let with_length = async || {
        // The stream itself never ends; only the header states the length.
        let body = Body::from_stream(stream::iter([Ok::<_, Infallible>("four")]).chain(stream::pending()));
        Response::builder()
            .header("content-length", "4")
            .body(body)
            .expect("a response")
    };
    // Both are empty, but not at their end: a server drops them without a poll.
    let empty = async |with_length: bool| {
        let head = Response::builder();
        if with_length {
            let body = Body::from_stream(stream::empty::<Result<Bytes, Infallible>>());
            head.header("content-length", "0").body(body)
        } else {
            head.body(Body::new(EmptyWithHint))
        }
        .expect("a response")
    };
    let router = Router::new()
        .route("/empty/stated", get(async move || empty(true).await))
        .route("/empty/hinted", get(async move || empty(false).await))
        .route("/long", any(long))
        .route("/none", get(async || StatusCode::NO_CONTENT))
        .route("/same", get(async || (StatusCode::NOT_MODIFIED, "never sent")))
        .route("/stated", get(with_length))
        .layer(header_source(&world));
    let server = Server::start(router).await;
    let acme = [("x-tenant", "acme")];
    assert!(
        server
            .send("HEAD", "/long", &acme)
            .await
            .expect("an answer")
            .body
            .is_empty()
    );
    for path in ["/none", "/same"] {
        assert!(get_as(&server, "acme", path).await.body.is_empty());
    }
    assert_eq!(get_as(&server, "acme", "/stated").await.text(), "four");
    for path in ["/empty/stated", "/empty/hinted"] {
        assert_eq!(get_as(&server, "acme", path).await.text(), "");
    }
    wait_for_ended(&world, "acme", 6);
    for span in world.project("acme").spans() {
        assert_eq!(end_of(span), (None, SpanStatus::Unset), "{span:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_trailers_size_hints_and_errors_of_the_service_are_unchanged() {
    let world = World::new(&["acme"]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "7".parse().expect("a value"));
    let expected = trailers.clone();
    let service = header_source(&world).layer(tower::service_fn(move |request: Request<Full<Bytes>>| {
        let trailers = trailers.clone();
        async move {
            if request.uri().path() == "/fails" {
                return Err(io::Error::other("no"));
            }
            let body = Full::new(Bytes::from("four"));
            Ok(Response::new(
                body.with_trailers(std::future::ready(Some(Ok(trailers)))),
            ))
        }
    }));
    let ask = |path: &str| {
        let request = Request::get(path).header("x-tenant", "acme").body(Full::default());
        service.clone().oneshot(request.expect("a request"))
    };
    let body = ask("/").await.expect("no error").into_body();
    assert_eq!((body.size_hint().lower(), body.is_end_stream()), (4, false));
    let all = body.collect().await.expect("no error");
    assert_eq!(all.trailers(), Some(&expected));
    assert_eq!(all.to_bytes(), "four");
    let error: io::Error = ask("/fails").await.expect_err("the service fails");
    assert_eq!(error.to_string(), "no");
    wait_for_ended(&world, "acme", 2);
    let project = world.project("acme");
    let failed = project
        .spans()
        .iter()
        .find(|span| attribute(span, "url.path") == "/fails")
        .expect("the failed request");
    assert_eq!(end_of(failed), (Some("std::io::error::Error"), SpanStatus::Error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_an_upgrade_or_a_tunnel_ends_with_the_response_head() {
    let world = World::new(&["acme"]);
    let service = header_source(&world).layer(tower::service_fn(async |request: Request<Full<Bytes>>| {
        let status = if request.method() == http::Method::CONNECT {
            200
        } else {
            101
        };
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        Ok::<_, Infallible>(Response::builder().status(status).body(body).expect("a response"))
    }));
    for method in ["GET", "CONNECT"] {
        let request = Request::builder()
            .method(method)
            .uri("example.com:443")
            .header("x-tenant", "acme");
        let response = service
            .clone()
            .oneshot(request.body(Full::default()).expect("a request"))
            .await;
        // The response still exists.
        wait_for_ended(&world, "acme", if method == "GET" { 1 } else { 2 });
        assert_eq!(end_of(&world.span("acme", method)), (None, SpanStatus::Unset));
        drop(response);
    }
}
