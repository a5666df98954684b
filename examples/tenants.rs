//! Traces many tenants at once, each into its own project, with keys from a secret manager.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use futures_util::future::try_join_all;
use support::Backend;
use tracer_registry::config::Binding;
use tracer_registry::secret::{SecretError, SecretString};
use tracer_registry::{KeySource, LookupError, TracerRegistry};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Stands in for the program's secret manager.
fn fetch(name: &str) -> Result<SecretString, SecretError> {
    match name.strip_prefix("tenants/") {
        Some(tenant) if TENANTS.contains(&tenant) => Ok(format!("key-of-{tenant}").into()),
        _ => Err(SecretError::refused("no such secret")),
    }
}

/// Serves one request of a tenant. All requests run concurrently on the same threads.
async fn serve(registry: &TracerRegistry, tenant: &str) -> Result<(), LookupError> {
    let tracer = registry.tenant_async(tenant).await?;
    let session = tracer.session("chat").metadata("plan", "enterprise").start();
    let answer = tracer.in_span_async("answer", async |span| {
        span.set_attribute("question", "why?");
        tokio::task::yield_now().await;
        tracer
            .in_span_async("retrieve", async |_| tokio::task::yield_now().await)
            .await;
        // A span of another tenant inside this one: it lands in the other's project, without a
        // parent.
        let acme = registry.tenant_async("acme").await?;
        acme.in_span(format!("audit {tenant}"), |_| ());
        Ok(())
    });
    session.scope(answer).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&TENANTS)?;
    let registry = TracerRegistry::builder()
        .secret_source("vault", fetch)
        .defaults(backend.endpoint())
        // Applies to each tenant without its own binding. The slug is filled in.
        .tenant(
            "*",
            Binding::new().api_key(KeySource::provider("vault", "tenants/{tenant}")),
        )
        .build()?;

    try_join_all(["globex", "initech", "globex"].map(|tenant| serve(&registry, tenant))).await?;
    let refused = registry.tenant_async("hooli").await;
    let error = refused.expect_err("no key for this tenant");
    println!("refused: {error}\n");

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, traces, trace) in [
        ("acme", 3, "audit "),
        ("globex", 2, "answer\n└─ retrieve\n"),
        ("initech", 1, "answer\n└─ retrieve\n"),
    ] {
        let project = backend.show(name);
        assert_eq!(project.traces().len(), traces);
        assert!(project.traces().iter().all(|found| found.tree().starts_with(trace)));
    }
    Ok(())
}
