//! The propagation layer of clients: headers and spans of outgoing requests.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::tower::PropagationLayer;
use tracer_registry_collector::{SpanKind, StatusCode};

use super::client::{Server, attribute, get_as, header_source, wait_for_ended};
use crate::support::{World, binding};

const FOREIGN: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// Sends a request with another tenant's headers. Returns the headers that were sent.
async fn sent_headers(layer: PropagationLayer) -> Vec<String> {
    let service = layer.layer(tower::service_fn(async |request: Request<()>| {
        let all = request.headers().iter();
        let mut all: Vec<_> = all
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        all.sort();
        Ok::<_, std::io::Error>(Response::new(all.join("\n")))
    }));
    let request = Request::get("http://other.example/")
        .header("traceparent", FOREIGN)
        .header("traceparent", FOREIGN)
        .header("tracestate", "a=b")
        .header("baggage", "tenant=globex")
        .header("x-mine", "stays");
    let answer = service
        .oneshot(request.body(()).expect("a request"))
        .await
        .expect("no error");
    let text = answer.into_body().collect().await.expect("a text").to_bytes();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_a_scope_has_only_its_own_trace_headers_and_others_are_unchanged() {
    let world = World::new(&["acme"]);
    let acme = world.tenant("acme");
    let untouched = [
        "baggage: tenant=globex",
        &format!("traceparent: {FOREIGN}"),
        &format!("traceparent: {FOREIGN}"),
        "tracestate: a=b",
        "x-mine: stays",
    ];
    for layer in [PropagationLayer::new(), PropagationLayer::new().with_spans()] {
        assert_eq!(sent_headers(layer).await, untouched);
        // Without spans of its own and outside a span, the layer has no trace to inject.
        if format!("{layer:?}").contains("false") {
            assert_eq!(acme.scope(sent_headers(layer)).await, ["x-mine: stays"]);
        }
        let headers = acme.in_span_async("ask", async |_| sent_headers(layer).await).await;
        let [parent, state, mine] = headers.as_slice() else {
            panic!("{headers:?}");
        };
        assert_eq!((state.as_str(), mine.as_str()), ("tracestate: ", "x-mine: stays"));
        flush(&world);
        let project = world.project("acme");
        let trace = project.spans().last().expect("one span has ended").trace_id.clone();
        assert!(parent.starts_with(&format!("traceparent: 00-{trace}-")), "{parent}");
    }
}

fn flush(world: &World) {
    tokio::task::block_in_place(|| world.flush());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_continues_through_two_services_and_client_spans_follow_the_conventions() {
    let trusting = |name: &str| binding(name).trust_remote_parent(true);
    let world = World::with(&["acme", "globex"], |builder| {
        builder
            .tenant("acme", trusting("acme"))
            .tenant("globex", trusting("globex"))
    });
    let back = Router::new()
        .route("/answer", get(async || "42"))
        .layer(header_source(&world));
    let back = Server::start(back).await;
    let address = back.address;
    let handler = async move |headers: http::HeaderMap| {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let client = PropagationLayer::new().with_spans().layer(client);
        for path in ["/answer?token=s3cret", "/none"] {
            let request = Request::get(format!("http://user:s3cret@{address}{path}"))
                .header("x-tenant", &headers["x-tenant"])
                .body(Full::<Bytes>::default());
            let answer = client
                .clone()
                .oneshot(request.expect("a request"))
                .await
                .expect("an answer");
            drop(answer.into_body().collect().await);
        }
    };
    let front = Router::new().route("/ask", get(handler)).layer(header_source(&world));
    let front = Server::start(front).await;
    tokio::join!(get_as(&front, "acme", "/ask"), get_as(&front, "globex", "/ask"));
    for tenant in ["acme", "globex"] {
        wait_for_ended(&world, tenant, 5);
        let project = world.project(tenant);
        assert_eq!(project.traces().len(), 1);
        let trees = "GET\n├─ GET\n│  └─ GET\n└─ GET\n   └─ GET";
        assert_eq!(project.tree().trim_end(), trees);
        let client_spans: Vec<_> = project
            .spans()
            .iter()
            .filter(|span| span.kind == SpanKind::Client)
            .collect();
        let outcomes = client_spans.iter().map(|span| {
            let attribute_of = |name| attribute(span, name).clone();
            (
                attribute_of("url.full"),
                attribute_of("http.response.status_code"),
                attribute_of("error.type"),
                span.status.code,
            )
        });
        let mut outcomes: Vec<_> = outcomes.collect();
        outcomes.sort_by_key(|outcomes| outcomes.1.as_u64());
        let url = |path: &str| format!("http://{address}{path}");
        assert_eq!(
            outcomes[0],
            (
                url("/answer").into(),
                200.into(),
                serde_json::Value::Null,
                StatusCode::Unset
            )
        );
        assert_eq!(
            outcomes[1],
            (url("/none").into(), 404.into(), "404".into(), StatusCode::Error)
        );
        assert_eq!(attribute(client_spans[0], "server.port"), address.port());
        world.assert_no_trace_of("s3cret", tenant);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_or_cancelled_request_is_an_error_and_an_unread_body_is_not() {
    let world = World::new(&["acme"]);
    let acme = world.tenant("acme");
    let service = PropagationLayer::new()
        .with_spans()
        .layer(tower::service_fn(async |request: Request<()>| {
            match request.uri().path() {
                "/fails" => Err(std::io::Error::other("no")),
                "/hangs" => std::future::pending().await,
                _ => Ok(Response::new("text".to_owned())),
            }
        }));
    let ask = |path: &str| {
        let request = Request::get(format!("http://other.example{path}"))
            .body(())
            .expect("a request");
        acme.scope(service.clone().oneshot(request))
    };
    assert!(ask("/fails").await.is_err());
    assert!(futures_util::FutureExt::now_or_never(ask("/hangs")).is_none());
    drop(ask("/unread").await.expect("no error"));
    wait_for_ended(&world, "acme", 3);
    let project = world.project("acme");
    let outcomes = project.spans().iter().map(|span| {
        let path = attribute(span, "url.full")
            .as_str()
            .expect("a URL")
            .replace("http://other.example/", "");
        format!("{path} {}", attribute(span, "error.type"))
    });
    let mut outcomes: Vec<_> = outcomes.collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["fails \"std::io::error::Error\"", "hangs \"cancelled\"", "unread null"]
    );
}
