//! Traces functions that do not name a tracer.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::time::Duration;

use support::Backend;
use tracer_registry::status::trace_counts;
use tracer_registry::{TracerRegistry, trace};

#[trace(event_type = tool, capture = both)]
fn retrieve(question: &str) -> Vec<String> {
    question.split(' ').map(str::to_uppercase).collect()
}

/// Captures one argument, hides the other, and records its error.
#[trace(event_type = model, capture = inputs, redact(token), err)]
async fn ask(question: &str, token: &str) -> Result<String, String> {
    tokio::task::yield_now().await;
    if question.is_empty() {
        return Err("nothing was asked".to_owned());
    }
    Ok(format!("{} ({})", retrieve(question).join("-"), token.len()))
}

/// The only place that names the tenant.
#[trace(registry = registry, tenant = tenant)]
async fn serve(registry: &TracerRegistry, tenant: &str, question: &str) -> Result<String, String> {
    ask(question, "a token").await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start(&["acme", "globex"])?;
    let registry = TracerRegistry::builder()
        .defaults(backend.endpoint())
        .tenant("acme", backend.key("acme"))
        .tenant("globex", backend.key("globex"))
        .build()?;

    let (acme, globex) = tokio::join!(serve(&registry, "acme", "why not"), serve(&registry, "globex", ""));
    println!("{acme:?} {globex:?}");
    // Not configured: the function still runs, untraced.
    println!("{:?}", serve(&registry, "hooli", "who").await);
    println!("calls without a tracer: {}", trace_counts().failed);

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for name in ["acme", "globex"] {
        let project = backend.show(name);
        for span in project.spans().iter().filter(|span| span.name == "ask") {
            println!(
                "question {}, token {}, status {:?} {:?}",
                span.attributes["honeyhive_inputs.question"],
                span.attributes["honeyhive_inputs.token"],
                span.status.code,
                span.status.message
            );
        }
    }
    Ok(())
}
