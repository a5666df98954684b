//! Routes the spans of code that knows no tenants.
//!
//! They go to the tenant in whose scope the code runs: a layer routes functions with
//! `#[tracing::instrument]`, `install_global` routes code that uses OpenTelemetry's global
//! provider. Code outside any scope uses the configured default.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]
#![expect(clippy::disallowed_methods, reason = "third-party code asks the global provider")]

mod support;

use std::error::Error;
use std::time::Duration;

use opentelemetry::trace::{Span, Tracer};
use support::Backend;
use tracer_registry::{Selector, TracerRegistry};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// A library that uses the `tracing` crate.
#[tracing::instrument]
async fn retrieve(question: &str) {
    tracing::info!("found");
    tokio::task::yield_now().await;
    query();
}

/// A driver that uses OpenTelemetry's API.
fn query() {
    opentelemetry::global::tracer("database").start("query").end();
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let names = ["acme", "globex", "production"];
    let backend = Backend::start(&names)?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("*", backend.key("{tenant}"))
        .environment("production", backend.key("production"))
        .routing_default(&Selector::environment("production"))
        .build()?;

    registry.install_global();
    let layer = registry.tracing_layer().with_filter(LevelFilter::INFO);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    let serve = async |tenant: &str| {
        let tracer = registry.tenant_async(tenant).await?;
        tracer
            .in_span_async("POST /ask", async |_| retrieve("why?").await)
            .await;
        Ok::<_, Box<dyn Error>>(())
    };
    let (acme, globex) = tokio::join!(serve("acme"), serve("globex"));
    acme.and(globex)?;
    tracing::info_span!("housekeeping").in_scope(query);

    println!("unrouted: {}", registry.status().unrouted.spans);
    assert!(registry.shutdown(Duration::from_secs(10)).is_complete());
    for name in names {
        for span in backend.show(name).spans() {
            for event in &span.events {
                println!("{}: event {}", span.name, event.name);
            }
        }
    }
    Ok(())
}
