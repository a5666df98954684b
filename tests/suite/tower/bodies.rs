//! A request's span ends with the response's body, however that comes about.

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

use super::client::{Server, attribute, ended, get_as, header_source};
use super::{current, note, work};
use crate::support::{LONG, World};

/// `error.type`, and the status.
fn end_of(span: &Span) -> (Option<&str>, SpanStatus) {
    (attribute(span, "error.type").as_str(), span.status.code)
}

/// Makes a span where it is dropped.
struct AtTheEnd;

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        note("dropped");
    }
}

/// A body of which only the hint says that it is empty.
struct Nothing;

impl http_body::Body for Nothing {
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

/// Items, one for each permit, each with a span of its own; the end, where there is one.
fn gated(
    permits: &Arc<Semaphore>,
    items: usize,
) -> impl futures_util::Stream<Item = Result<String, io::Error>> + use<> {
    let (permits, end) = (Arc::clone(permits), Arc::new(AtTheEnd));
    stream::iter(0..items).then(move |item| {
        let (permits, end) = (Arc::clone(&permits), Arc::clone(&end));
        async move {
            let _kept = end;
            permits.acquire().await.expect("not closed").forget();
            work(format!("item {item}")).await;
            Ok(format!("item {item} of {}\n", current()))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_a_stream_ends_with_it_and_what_it_does_is_in_its_scope() {
    let world = World::new(&["acme"]);
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let handler = move || std::future::ready(Body::from_stream(gated(&gate, 2)));
    let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\nconnection: close\r\n\r\n";
    permits.add_permits(1);
    let mut begun = server.begin(request, "item 0 of tenant:acme\n").await;
    // The first item came, and its span is the only one that ended.
    ended(&world, "acme", 1);
    permits.add_permits(1);
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut begun, &mut rest)
        .await
        .expect("it closes");
    assert!(rest.contains("item 1 of tenant:acme"), "{rest}");
    ended(&world, "acme", 4);
    let span = world.span("acme", "GET");
    assert_eq!(end_of(&span), (None, SpanStatus::Unset));
    for name in ["item 0", "item 1", "dropped"] {
        assert_eq!(world.span("acme", name).parent_span_id.as_ref(), Some(&span.span_id));
    }
    assert!(world.span("acme", "item 1").end_unix_nanos <= span.end_unix_nanos);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_in_the_middle_of_a_response_ends_the_span_as_cancelled() {
    let world = World::new(&["acme"]);
    let permits = Arc::new(Semaphore::new(1));
    let gate = Arc::clone(&permits);
    let handler = move || std::future::ready(Body::from_stream(gated(&gate, 1_000)));
    let server = Server::start(Router::new().route("/", get(handler)).layer(header_source(&world))).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\n\r\n";
    drop(server.begin(request, "item 0 of tenant:acme\n").await);
    // One for the item, one for the destructor, one for the request.
    ended(&world, "acme", 3);
    let span = world.span("acme", "GET");
    assert_eq!(end_of(&span), (Some("cancelled"), SpanStatus::Error));
    assert_eq!(attribute(&span, "http.response.status_code"), 200);
    let dropped = world.span("acme", "dropped");
    assert_eq!(
        dropped.parent_span_id.as_ref(),
        Some(&span.span_id),
        "dropped in the request's scope"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_while_it_sends_or_waits_ends_the_span() {
    let world = World::new(&["acme"]);
    let begun = Arc::new(Notify::new());
    let waiting = Arc::clone(&begun);
    let handler = move |body: Body| async move {
        let _end = AtTheEnd;
        let read = body.collect().await;
        waiting.notify_one();
        if read.is_ok() {
            std::future::pending::<()>().await;
        }
        // Nobody is there to read this.
        StatusCode::BAD_REQUEST
    };
    let server = Server::start(Router::new().route("/", any(handler)).layer(header_source(&world))).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    // In the middle of the request.
    drop(server.begin(head, "100 Continue").await);
    ended(&world, "acme", 2);
    let half = world.span("acme", "POST");
    // The service was told that the request broke off, or was dropped before it could look.
    let status = attribute(&half, "http.response.status_code").as_u64();
    assert!(status == Some(400) || end_of(&half).0 == Some("cancelled"), "{half:#?}");

    // While the answer is awaited.
    let mut whole = server.begin(head, "100 Continue").await;
    tokio::io::AsyncWriteExt::write_all(&mut whole, b"123456789")
        .await
        .expect("it reads");
    tokio::time::timeout(LONG, begun.notified()).await.expect("in time");
    drop(whole);
    ended(&world, "acme", 4);
    let project = world.project("acme");
    let last = project.spans_named("POST").last().expect("two");
    assert_eq!(end_of(last), (Some("cancelled"), SpanStatus::Error));
    assert_eq!(attribute(last, "http.response.status_code"), &serde_json::Value::Null);
    let dropped = project.spans_named("dropped").last().expect("two");
    assert_eq!(
        dropped.parent_span_id.as_ref(),
        Some(&last.span_id),
        "dropped in the request's scope"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_fails_and_a_panic_end_the_span_as_errors_and_go_on() {
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
            "the connection breaks"
        );
        assert_eq!(get_as(&server, "globex", "/fine").await.text(), "tenant:globex");
        tokio::task::block_in_place(|| {
            let found = || world.status("acme").spans.accepted;
            crate::support::wait_for("the span ends", found, |ended| *ended > 0);
            world.flush();
        });
        let project = world.project("acme");
        let span = project.spans().last().expect("one for each");
        assert_eq!(end_of(span), (Some(error), SpanStatus::Error), "{path}");
        assert_eq!(attribute(span, "http.response.status_code").as_u64(), status, "{path}");
        assert_eq!(attribute(span, "url.path"), path);
        world
            .registry
            .remove(tracer_registry::Selector::tenant("acme"))
            .expect("a name");
    }
    ended(&world, "acme", 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_body_is_not_asked_for_was_not_cancelled() {
    let world = World::new(&["acme"]);
    let long = async || Body::from_stream(stream::iter([Ok::<_, Infallible>("never asked for")]));
    let stated = async || {
        // Of the stream itself nobody knows that it ends there.
        let body = Body::from_stream(stream::iter([Ok::<_, Infallible>("four")]).chain(stream::pending()));
        Response::builder()
            .header("content-length", "4")
            .body(body)
            .expect("a response")
    };
    // Both say that nothing comes, and neither that it is at its end: a server drops them without a look.
    let empty = async |stated: bool| {
        let head = Response::builder();
        if stated {
            let body = Body::from_stream(stream::empty::<Result<Bytes, Infallible>>());
            head.header("content-length", "0").body(body)
        } else {
            head.body(Body::new(Nothing))
        }
        .expect("a response")
    };
    let router = Router::new()
        .route("/empty/stated", get(async move || empty(true).await))
        .route("/empty/hinted", get(async move || empty(false).await))
        .route("/long", any(long))
        .route("/none", get(async || StatusCode::NO_CONTENT))
        .route("/same", get(async || (StatusCode::NOT_MODIFIED, "never sent")))
        .route("/stated", get(stated))
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
    ended(&world, "acme", 6);
    for span in world.project("acme").spans() {
        assert_eq!(end_of(span), (None, SpanStatus::Unset), "{span:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_trailers_hints_and_errors_are_those_of_the_service() {
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
    let error: io::Error = ask("/fails").await.expect_err("it fails");
    assert_eq!(error.to_string(), "no");
    ended(&world, "acme", 2);
    let project = world.project("acme");
    let failed = project
        .spans()
        .iter()
        .find(|span| attribute(span, "url.path") == "/fails")
        .expect("one");
    assert_eq!(end_of(failed), (Some("std::io::error::Error"), SpanStatus::Error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_a_tunnel_end_the_span_with_the_head() {
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
        let kept = service
            .clone()
            .oneshot(request.body(Full::default()).expect("a request"))
            .await;
        // The response is still there.
        ended(&world, "acme", if method == "GET" { 1 } else { 2 });
        assert_eq!(end_of(&world.span("acme", method)), (None, SpanStatus::Unset));
        drop(kept);
    }
}
