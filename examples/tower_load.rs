//! Checks that nothing leaks, gets lost or stays open while hundreds of requests of many tenants
//! run concurrently and a third of them is cut off.
//!
//! `tower_load [requests]` serves the given number of requests (default: 20,000) over HTTP for 50
//! tenants, 200 concurrently. Every third client disconnects after the first item of a streamed
//! answer. In the end each span must be in its tenant's project under its request, and none may be
//! open.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderName, Request};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracer_registry::config::Binding;
use tracer_registry::tower::{TenantLayer, TenantSource};
use tracer_registry::{KeySource, Selector, TracerRegistry};
use tracer_registry_collector::{LocalCollector, Project, Span};

const TENANTS: usize = 50;
const AT_ONCE: usize = 200;
const ITEMS: usize = 3;
const ITEM: &str = "item\n";

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(60);

type Http = Client<HttpConnector, Empty<axum::body::Bytes>>;

fn name_of(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

fn is_cut(number: usize) -> bool {
    number.is_multiple_of(3)
}

/// Streams items, each with a span named after the request. The second item never arrives if the
/// client is about to disconnect.
async fn serve(Path(number): Path<usize>) -> Body {
    Body::from_stream(stream::iter(0..ITEMS).then(move |item| async move {
        if is_cut(number) && item > 0 {
            std::future::pending::<()>().await;
        }
        if let Some(tracer) = TracerRegistry::current() {
            let made = tracer.in_span_async(format!("item of {number}"), async |_| tokio::task::yield_now().await);
            made.await;
        }
        Ok::<_, Infallible>(ITEM)
    }))
}

/// Sends a request and reads the whole answer, or disconnects after the first item.
async fn ask(client: &Http, server: SocketAddr, number: usize) -> Result<(), Box<dyn Error>> {
    let tenant = name_of(number % TENANTS);
    if is_cut(number) {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("GET /{number} HTTP/1.1\r\nhost: a\r\nx-tenant: {tenant}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"item\n\r\n") {
            assert_ne!(
                stream.read_buf(&mut answer).await?,
                0,
                "the server closed the connection"
            );
        }
        return Ok(());
    }
    let request = Request::get(format!("http://{server}/{number}")).header("x-tenant", tenant);
    let answer = client.request(request.body(Empty::new())?).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    assert_eq!(body, ITEM.repeat(ITEMS));
    Ok(())
}

/// Returns the number of a request from its path.
fn number_of(span: &Span) -> Option<usize> {
    span.attributes
        .get("url.path")?
        .as_str()?
        .strip_prefix('/')?
        .parse()
        .ok()
}

/// Returns the number of missing, surplus and misplaced spans of a project.
fn wrong_in(project: &Project, tenant: usize, requests: usize) -> usize {
    let mut wrong = 0;
    let mut expected = 0;
    let served: Vec<_> = project.spans_named("GET").collect();
    for span in &served {
        let Some(number) = number_of(span).filter(|number| number % TENANTS == tenant) else {
            wrong += 1;
            continue;
        };
        let error = span.attributes.get("error.type").and_then(|error| error.as_str());
        wrong += usize::from(error != is_cut(number).then_some("cancelled"));
        let items = if is_cut(number) { 1 } else { ITEMS };
        let name = format!("item of {number}");
        let made = project.spans_named(&name);
        let below = made
            .filter(|item| item.parent_span_id.as_ref() == Some(&span.span_id))
            .count();
        wrong += below.abs_diff(items);
        expected += 1 + items;
    }
    let asked = (tenant..requests).step_by(TENANTS).count();
    wrong + served.len().abs_diff(asked) + project.spans().len().abs_diff(expected)
}

/// Waits until no tracer is left, because an open span keeps its tracer alive. Returns how many are
/// left.
fn open_tracers(registry: &TracerRegistry) -> usize {
    let begun = Instant::now();
    loop {
        let left = registry.status().tracers.iter().map(|tracer| tracer.tracers).sum();
        if left == 0 || begun.elapsed() > LONG {
            return left;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let requests: u32 = std::env::args().nth(1).map_or(Ok(20_000), |number| number.parse())?;
    let key_of = |name: &str| format!("key-of-{name}");
    let collector = (0..TENANTS)
        .map(name_of)
        .fold(LocalCollector::builder(), |builder, name| {
            let key = key_of(&name);
            builder.project(name, key)
        });
    let collector = collector.start()?;
    let registry = TracerRegistry::builder()
        .secret_source("names", move |name: &str| Ok(key_of(name).into()))
        .defaults(Binding::new().endpoint(collector.url()));
    let registry = (0..TENANTS).map(name_of).fold(registry, |builder, name| {
        let key = KeySource::provider("names", name.clone());
        builder.tenant(name, Binding::new().api_key(key))
    });
    let registry = registry.build()?;

    let tenant = TenantSource::header(HeaderName::from_static("x-tenant"));
    let router = Router::new().route("/{number}", get(serve));
    let router = router.layer(TenantLayer::new(registry.clone(), tenant));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, router).await });

    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let begun = Instant::now();
    let asked = stream::iter(0..requests as usize).map(|number| ask(&client, server, number));
    let mut asked = asked.buffer_unordered(AT_ONCE);
    while let Some(answered) = asked.next().await {
        answered?;
    }
    let took = begun.elapsed();

    tokio::task::block_in_place(move || {
        for tenant in 0..TENANTS {
            registry.remove(Selector::tenant(&name_of(tenant)))?;
        }
        let open = open_tracers(&registry);
        let report = registry.shutdown(LONG);
        let status = registry.status();
        let accepted: u64 = status.tracers.iter().map(|tracer| tracer.spans.accepted).sum();
        let projects = (0..TENANTS).map(|tenant| (tenant, collector.project(&name_of(tenant)).expect("named above")));
        let (mut received, mut wrong) = (0, 0);
        for (tenant, project) in projects {
            received += project.spans().len() as u64;
            wrong += wrong_in(&project, tenant, requests as usize);
        }
        let rate = f64::from(requests) / took.as_secs_f64();
        println!("{requests} requests of {TENANTS} tenants, {AT_ONCE} at once, {rate:.0}/s");
        println!("{accepted} spans accepted, {received} received, {wrong} wrong, {open} tracers left open");
        let is_clean = report.is_complete() && accepted == received && wrong == 0 && open == 0;
        println!("{}", if is_clean { "isolated" } else { "NOT ISOLATED" });
        if is_clean {
            Ok(())
        } else {
            Err(report.to_string().into())
        }
    })
}
