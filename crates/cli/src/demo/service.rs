//! A small multi-tenant helpdesk over HTTP, traced for its tenants, features and environments at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use http_body_util::BodyExt;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::{self, JoinSet};
use tracer_registry::{Enrichment, LookupError, Selector, SessionBuilder, TracerHandle, TracerRegistry};

use super::CliError;
use super::tally::{OWNER, Tally};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const ENVIRONMENTS: [&str; 3] = ["development", "staging", "production"];
/// Concurrent requests.
const CLIENTS: u64 = 16;
/// Every tenth request uses a dedicated tracer.
const DEDICATED_EVERY: u64 = 10;

type Client = legacy::Client<HttpConnector, String>;

#[derive(Clone)]
struct Service {
    registry: TracerRegistry,
    tally: Tally,
}

/// Serves on a free port, sends `requests` questions concurrently, and returns when all are
/// answered.
pub(super) async fn serve_and_ask(registry: TracerRegistry, tally: Tally, requests: u64) -> Result<(), CliError> {
    let demo = |action| move |source| CliError::Demo { action, source };
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(demo("listen on a free port"))?;
    let address = listener.local_addr().map_err(demo("listen on a free port"))?;
    let service = Service { registry, tally };
    let router = Router::new().route("/ask", post(ask)).with_state(service);
    let server = task::spawn(axum::serve(listener, router).into_future());

    let client: Client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let next = Arc::new(AtomicU64::new(0));
    let mut clients: JoinSet<Result<(), CliError>> = JoinSet::new();
    for _ in 0..CLIENTS.min(requests) {
        let (client, next, url) = (client.clone(), Arc::clone(&next), format!("http://{address}/ask"));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok(());
                }
                send_question(&client, &url, number).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client does not panic")?;
    }
    server.abort();
    Ok(())
}

async fn send_question(client: &Client, url: &str, number: u64) -> Result<(), CliError> {
    let tenant = round_robin(&TENANTS, number);
    let question = Request::post(url)
        .header("x-tenant", tenant)
        .header("x-request", number);
    let question = question
        .body(format!("question {number}"))
        .expect("the demo's own address and headers are valid");
    let answer = client
        .request(question)
        .await
        .map_err(|error| CliError::Request(error.to_string()))?;
    let status = answer.status();
    // Read to the end, so that the connection can be reused.
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| CliError::Request(error.to_string()))?
        .to_bytes();
    if status.is_success() {
        return Ok(());
    }
    Err(CliError::Request(format!(
        "{status}: {}",
        String::from_utf8_lossy(&body)
    )))
}

async fn ask(
    State(service): State<Service>,
    headers: HeaderMap,
    question: String,
) -> Result<String, (StatusCode, String)> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let number = text("x-request").parse().unwrap_or(0);
    service
        .answer(text("x-tenant"), number, question)
        .await
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

impl Service {
    /// Answers one request in the tenant's session and spans. Between them it makes spans of
    /// features and environments, which must not join the tenant's trace, or the reverse.
    async fn answer(&self, tenant: &str, number: u64, question: String) -> Result<String, LookupError> {
        let tracer = if number.is_multiple_of(DEDICATED_EVERY) {
            self.registry.dedicated(Selector::tenant(tenant))?
        } else {
            self.registry.tenant(tenant)?
        };
        let session = session(&tracer, "question").input("question", question.clone()).start();
        let work = self.tally.in_span_async(&tracer, "POST /ask", async |_| {
            let found = self.retrieve(&tracer, tenant).await?;
            let ranked = self.rank(&tracer, found).await;
            self.count_request(number)?;
            self.draft(&tracer, number, ranked).await
        });
        let answer = session.scope(work).await?;
        session.enrich(Enrichment::new().metric("answer_chars", answer.len()));
        session.enrich(Enrichment::new().outputs(json!({"answer": answer})));
        Ok(answer)
    }

    /// Traces the search feature into its own project, and acme's searches into acme's search
    /// project.
    async fn retrieve(&self, tenant: &TracerHandle, slug: &str) -> Result<Vec<u64>, LookupError> {
        let search = match slug {
            "acme" => self.registry.get(Selector::feature("search").tenant("acme"))?,
            _ => self.registry.feature("search")?,
        };
        let lookup = self.tally.in_span_async(tenant, "retrieve", async |_| {
            let found = self.tally.in_span_async(&search, "search", async |_| {
                self.tally
                    .in_span_async(&search, "read index", async |_| task::yield_now().await)
                    .await;
                // A span of the tenant inside a span of the feature.
                self.tally
                    .in_span_async(tenant, "check permissions", async |_| vec![3, 1, 2])
                    .await
            });
            found.await
        });
        Ok(lookup.await)
    }

    /// Sorts on a thread of the blocking pool, under the current span.
    async fn rank(&self, tenant: &TracerHandle, found: Vec<u64>) -> Vec<u64> {
        let rank = self.tally.in_span_async(tenant, "rank", async |span| {
            let (tally, tenant) = (self.tally.clone(), tenant.clone());
            let sort = move || {
                let _guard = span.context().clone().attach();
                tally.in_span(&tenant, "sort", |_| {
                    let mut ranked = found;
                    ranked.sort_unstable();
                    ranked
                })
            };
            task::spawn_blocking(sort).await.expect("sorting does not panic")
        });
        rank.await
    }

    /// Makes spans of an environment, one of them on a plain thread, while a span of the tenant is
    /// current on the waiting thread.
    fn count_request(&self, number: u64) -> Result<(), LookupError> {
        let environment = self.registry.environment(round_robin(&ENVIRONMENTS, number))?;
        self.tally.in_span(&environment, "count request", |_| {
            thread::scope(|threads| {
                threads.spawn(|| self.tally.in_span(&environment, "write counter", |_| ()));
            });
        });
        Ok(())
    }

    /// Runs the A/B test: one tracer, and a session per request with the variant in its metadata.
    async fn draft(&self, tenant: &TracerHandle, number: u64, ranked: Vec<u64>) -> Result<String, LookupError> {
        let experience = self.registry.feature("customer_experience")?;
        let variant = if number.is_multiple_of(2) { "short" } else { "friendly" };
        let experiment = session(&experience, "draft").metadata("variant", variant).start();
        let draft = self
            .tally
            .in_span_async(&experience, "choose tone", async |_| task::yield_now().await);
        experiment.scope(draft).await;
        experiment.enrich(Enrichment::new().feedback("helpful", !number.is_multiple_of(3)));
        let write = self.tally.in_span_async(tenant, "write answer", async |span| {
            span.set_attribute("variant", variant);
            format!("{variant} answer from {ranked:?}")
        });
        Ok(write.await)
    }
}

fn round_robin(names: &[&'static str; 3], number: u64) -> &'static str {
    match number % 3 {
        0 => names[0],
        1 => names[1],
        _ => names[2],
    }
}

/// Creates a session with its owner in its metadata.
fn session(tracer: &TracerHandle, name: &str) -> SessionBuilder {
    tracer.session(name).metadata(OWNER, tracer.selector().to_string())
}
