//! The `reqwest` middleware: a real client against a real server.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use futures_util::FutureExt as _;
use http::Extensions;
use reqwest_middleware::reqwest::{Client, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tracer_registry::reqwest::PropagationMiddleware;
use tracer_registry::{TracerHandle, TracerRegistry};

use crate::support::{World, binding};

const FOREIGN: &str = "00-11111111111111111111111111111111-2222222222222222-01";

fn client() -> ClientBuilder {
    ClientBuilder::new(Client::builder().no_proxy().build().expect("a client"))
}

/// Serves on loopback until the runtime ends. Returns its URL.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

/// Sends a request with another tenant's headers. Returns the headers that the server received.
async fn received_headers(client: &ClientWithMiddleware, url: &str) -> String {
    let request = client
        .get(url)
        .header("traceparent", FOREIGN)
        .header("tracestate", "a=b")
        .header("baggage", "tenant=globex")
        .header("x-mine", "stays");
    let answer = request.send().await.expect("an answer");
    answer.text().await.expect("a text")
}

async fn echo(headers: HeaderMap) -> String {
    let all = ["traceparent", "tracestate", "baggage", "x-mine"];
    let all = all.map(|name| headers.get(name).map_or("none", |value| value.to_str().expect("text")));
    all.join(" ")
}

#[tokio::test]
async fn a_request_in_a_scope_has_only_its_own_trace_headers_and_others_are_unchanged() {
    let world = World::new(&["acme", "globex"]);
    let (acme, globex) = (world.tenant("acme"), world.tenant("globex"));
    let url = serve(Router::new().route("/", get(echo))).await;
    let client = client().with(PropagationMiddleware::new()).build();

    let untouched = format!("{FOREIGN} a=b tenant=globex stays");
    assert_eq!(received_headers(&client, &url).await, untouched);
    assert_eq!(
        acme.scope(received_headers(&client, &url)).await,
        "none none none stays"
    );
    for tracer in [&acme, &globex] {
        tracer
            .in_span_async("ask", async |span| {
                let id = span.span_context();
                let own = format!("00-{}-{}-01  none stays", id.trace_id(), id.span_id());
                assert_eq!(received_headers(&client, &url).await, own);
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_span_is_a_child_of_the_clients_and_receives_its_baggage() {
    let world = World::with(&["acme"], |builder| {
        builder.tenant("acme", binding("acme").trust_remote_parent(true))
    });
    let acme = world.tenant("acme");
    let serving = acme.clone();
    let handler = async move |headers: HeaderMap| {
        let served = serving.in_span_async("served", async |_| {
            let mut next = HeaderMap::new();
            serving.inject_headers(&mut next);
            next["baggage"].to_str().expect("text").to_owned()
        });
        serving.extract_headers(&headers).scope(served).await
    };
    let url = serve(Router::new().route("/", get(handler))).await;
    let client = client().with(PropagationMiddleware::new()).build();
    let mut incoming = HeaderMap::new();
    incoming.insert("baggage", http::HeaderValue::from_static("plan=pro"));
    let asked = acme
        .extract_headers(&incoming)
        .scope(acme.in_span_async("asked", async |_| {
            let answer = client.get(&url).send().await.expect("an answer");
            answer.text().await.expect("a text")
        }));
    assert_eq!(asked.await, "plan=pro");
    tokio::task::block_in_place(|| world.flush());
    let (client_span, server_span) = (world.span("acme", "asked"), world.span("acme", "served"));
    assert_eq!(server_span.parent_span_id.as_ref(), Some(&client_span.span_id));
    assert_eq!(server_span.trace_id, client_span.trace_id);
}

/// Middleware that yields once, then records the current tracer.
struct RecordTracer(Arc<Mutex<Option<TracerHandle>>>);

#[async_trait::async_trait]
impl Middleware for RecordTracer {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        tokio::task::yield_now().await;
        *self.0.lock().expect("no panic") = TracerRegistry::current();
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_request_keeps_the_scope_in_which_it_was_sent() {
    let world = World::new(&["acme"]);
    let acme = world.tenant("acme");
    let url = serve(Router::new().route("/", get(echo))).await;
    let recorded = Arc::default();
    let client = client()
        .with(PropagationMiddleware::new())
        .with(RecordTracer(Arc::clone(&recorded)))
        .build();
    let mut sent = Box::pin(received_headers(&client, &url));
    acme.scope(async { assert!((&mut sent).now_or_never().is_none(), "the request is pending") })
        .await;
    assert!(TracerRegistry::current().is_none());
    assert_eq!(sent.await, "none none none stays");
    let recorded = recorded.lock().expect("no panic").take();
    assert!(recorded.is_some_and(|tracer| tracer.same_tracer(&acme)));
}
