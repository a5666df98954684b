//! Where do the spans of code go that has never heard of tenants?
//!
//! To the tenant whose scope it runs in: functions with `#[tracing::instrument]` by a layer, whatever asks OpenTelemetry's global provider by
//! `install_global`. What runs in no scope goes to the default that the configuration names.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]
#![expect(clippy::disallowed_methods, reason = "a third party's code asks the global provider")]

use std::error::Error;
use std::fs;
use std::time::Duration;

use opentelemetry::trace::{Span, Tracer};
use tracer_registry::config::Binding;
use tracer_registry::{KeySource, Selector, TracerRegistry};
use tracer_registry_collector::LocalCollector;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// A library with the `tracing` crate.
#[tracing::instrument]
async fn retrieve(question: &str) {
    tracing::info!("found");
    tokio::task::yield_now().await;
    query();
}

/// A driver with OpenTelemetry's API.
fn query() {
    opentelemetry::global::tracer("database").start("query").end();
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let names = ["acme", "globex", "production"];
    let collector = LocalCollector::builder();
    let collector = names.iter().fold(collector, |collector, name| {
        collector.project(*name, format!("key-of-{name}"))
    });
    let collector = collector.start()?;
    let secrets = tempfile::tempdir()?;
    for name in names {
        fs::write(secrets.path().join(name), format!("key-of-{name}"))?;
    }
    let key = |name: &str| Binding::new().api_key(KeySource::file(secrets.path().join(name)));
    let registry = TracerRegistry::builder()
        .defaults(Binding::new().endpoint(collector.url()))
        .tenant("*", key("{tenant}"))
        .environment("production", key("production"))
        .routing_default(&Selector::environment("production"))
        .build()?;

    registry.install_global();
    let layer = registry.tracing_layer().with_filter(LevelFilter::INFO);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))?;

    let serve = async |tenant: &str| {
        let tracer = registry.tenant(tenant)?;
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
        let project = collector.project(name).ok_or("named above")?;
        println!("project {name}\n{}", project.tree());
        for span in project.spans() {
            for event in &span.events {
                println!("{}: event {}", span.name, event.name);
            }
        }
    }
    Ok(())
}
