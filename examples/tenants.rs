//! How does one process trace many tenants at once, each into its own project, with keys from a secret manager?
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use futures_util::future::try_join_all;
use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::secret::SecretError;
use tracer_registry::{KeySource, LookupError, TracerRegistry};
use tracer_registry_collector::LocalCollector;

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Stands for the program's own secret manager.
fn fetch(name: &str) -> Result<SecretString, SecretError> {
    match name.strip_prefix("tenants/") {
        Some(tenant) if TENANTS.contains(&tenant) => Ok(format!("key-of-{tenant}").into()),
        _ => Err(SecretError::refused("no such secret")),
    }
}

/// Serves one request of a tenant. All of them run at the same time, on the same threads.
async fn serve(registry: &TracerRegistry, tenant: &str) -> Result<(), LookupError> {
    let tracer = registry.tenant(tenant)?;
    let session = tracer.session("chat").metadata("plan", "enterprise").start();
    let answer = tracer.in_span_async("answer", async |span| {
        span.set_attribute("question", "why?");
        tokio::task::yield_now().await;
        tracer
            .in_span_async("retrieve", async |_| tokio::task::yield_now().await)
            .await;
        // A span of another tenant, made in the middle of this one: it lands in the other's project, without a parent.
        registry
            .tenant("acme")
            .map(|acme| acme.start_span(format!("audit {tenant}")))
    });
    session.scope(answer).await.map(drop)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = TENANTS
        .into_iter()
        .fold(LocalCollector::builder(), |builder, name| {
            builder.project(name, format!("key-of-{name}"))
        })
        .start()?;
    let registry = TracerRegistry::builder()
        .secret_source("vault", fetch)
        .defaults(Binding::new().endpoint(collector.url()))
        // Every tenant without a binding of its own: the slug is filled in.
        .tenant(
            "*",
            Binding::new().api_key(KeySource::provider("vault", "tenants/{tenant}")),
        )
        .build()?;

    try_join_all(["globex", "initech", "globex"].map(|tenant| serve(&registry, tenant))).await?;
    let error = registry
        .tenant("hooli")
        .expect_err("the secret manager has no key for it");
    println!("refused: {error}\n");

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, traces, trace) in [
        ("acme", 3, "audit "),
        ("globex", 2, "answer\n└─ retrieve\n"),
        ("initech", 1, "answer\n└─ retrieve\n"),
    ] {
        let project = collector.project(name).expect("named above");
        println!("project {name}\n{}", project.tree());
        assert_eq!(project.traces().len(), traces);
        assert!(project.traces().iter().all(|found| found.tree().starts_with(trace)));
    }
    Ok(())
}
