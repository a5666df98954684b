//! Traces each request of a multi-tenant axum service into its tenant's project.
//!
//! Runs two services: a front that authenticates its callers, and a model server behind it that
//! trusts the front.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tracer_registry::config::Binding;
use tracer_registry::tower::{PropagationLayer, PropagationService, TenantLayer, TenantSource};
use tracer_registry::{Enrichment, KeySource, Session, TracerRegistry};
use tracer_registry_collector::LocalCollector;

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

type Http = Client<HttpConnector, Full<Bytes>>;

/// The authenticated user. Set only by `authenticate`.
#[derive(Clone)]
struct User {
    tenant: String,
}

#[derive(Clone)]
struct Front {
    models: Uri,
    /// Its requests carry the trace of the current scope.
    client: PropagationService<Http>,
}

/// Stands in for a token look-up. Headers of the client never choose the tenant.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION);
    let tenant = match token.map(HeaderValue::as_bytes) {
        Some(b"Bearer token-of-ann") => "acme",
        Some(b"Bearer token-of-bob") => "globex",
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    let tenant = tenant.to_owned();
    request.extensions_mut().insert(User { tenant });
    next.run(request).await
}

fn front(registry: TracerRegistry, models: Uri) -> Router {
    let tenant = TenantLayer::new(registry, TenantSource::extension(|user: &User| user.tenant.as_str()))
        .route(|request| request.extensions.get().map(MatchedPath::as_str))
        .session(|tracer, request| Some(tracer.session("request").metadata("path", request.uri.path())));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let client = PropagationLayer::new().with_spans().layer(client);
    Router::new()
        .route("/ask", post(ask))
        .route("/stories/{id}", get(tell))
        .with_state(Front { models, client })
        // The layer added last sees a request first.
        .layer(tenant)
        .layer(middleware::from_fn(authenticate))
}

/// Calls the model server. Tracing takes the tenant from the scope.
async fn ask(
    State(front): State<Front>,
    Extension(user): Extension<User>,
    question: String,
) -> Result<String, StatusCode> {
    let request = Request::post(front.models)
        .header(TENANT, user.tenant)
        .body(Full::from(question))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let answer = front
        .client
        .oneshot(request)
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    let answer = answer
        .into_body()
        .collect()
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    let answer = String::from_utf8_lossy(&answer.to_bytes()).into_owned();
    if let Some(session) = Session::current() {
        session.enrich(Enrichment::new().outputs(answer.as_str()));
    }
    Ok(answer)
}

/// Streams. The words are produced in the request's scope, and the request's span ends with the
/// last one.
async fn tell() -> Body {
    let words = stream::iter(["once ", "upon ", "a time"]).then(async |word| {
        if let Some(tracer) = TracerRegistry::current() {
            tracer
                .in_span_async("find a word", async |_| tokio::task::yield_now().await)
                .await;
        }
        Ok::<_, Infallible>(word)
    });
    Body::from_stream(words)
}

/// Only the front can reach this service, so it trusts the header.
fn models(registry: TracerRegistry) -> Router {
    let answer = async |question: String| {
        if let Some(tracer) = TracerRegistry::current() {
            tracer.in_span("think", |span| span.set_attribute("question", question));
        }
        "42"
    };
    Router::new()
        .route("/answer", post(answer))
        .layer(TenantLayer::new(registry, TenantSource::header(TENANT)))
}

async fn serve(router: Router) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = LocalCollector::builder()
        .project("acme", "key-of-acme")
        .project("globex", "key-of-globex")
        .start()?;
    let secrets = tempfile::tempdir()?;
    for tenant in ["acme", "globex"] {
        fs::write(secrets.path().join(tenant), format!("key-of-{tenant}"))?;
    }
    // Each service has its own registry, as in separate processes.
    let registry = || {
        let binding = Binding::new().endpoint(collector.url()).trust_remote_parent(true);
        let builder = TracerRegistry::builder().defaults(binding);
        let key_of = |tenant| Binding::new().api_key(KeySource::file(secrets.path().join(tenant)));
        builder
            .tenant("acme", key_of("acme"))
            .tenant("globex", key_of("globex"))
            .build()
    };
    let registries = [registry()?, registry()?];
    let models = serve(models(registries[1].clone())).await?;
    let front = serve(front(registries[0].clone(), format!("{models}/answer").parse()?)).await?;

    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    for (method, path, token) in [
        ("POST", "/ask", "token-of-ann"),
        ("POST", "/ask", "token-of-bob"),
        ("GET", "/stories/7", "token-of-bob"),
        ("GET", "/stories/7", "a guess"),
    ] {
        let request = Request::builder().method(method).uri(format!("{front}{path}"));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        // A client's own tenant header is ignored.
        let request = request.header(TENANT, "globex").body(Full::from("why?"))?;
        let (head, body) = client.request(request).await?.into_parts();
        let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        println!("{method} {path}: {} {text:?}", head.status.as_u16());
    }

    for registry in &registries {
        let report = tokio::task::block_in_place(|| registry.shutdown(Duration::from_secs(5)));
        assert!(report.is_complete(), "{report}");
    }
    for tenant in ["acme", "globex"] {
        let project = collector.project(tenant).expect("named above");
        println!(
            "project {tenant}, {} sessions\n{}",
            project.sessions().len(),
            project.tree()
        );
    }
    Ok(())
}
