//! How are functions traced without a word about tracers in them?
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use tracer_registry::config::Binding;
use tracer_registry::secret::SecretString;
use tracer_registry::status::trace_counts;
use tracer_registry::{KeySource, TracerRegistry, trace};
use tracer_registry_collector::LocalCollector;

#[trace(event_type = tool, capture = both)]
fn retrieve(question: &str) -> Vec<String> {
    question.split(' ').map(str::to_uppercase).collect()
}

/// Gives nothing of its arguments away but one of them, and what it fails with.
#[trace(event_type = model, capture = inputs, redact(token), err)]
async fn ask(question: &str, token: &str) -> Result<String, String> {
    tokio::task::yield_now().await;
    if question.is_empty() {
        return Err("nothing was asked".to_owned());
    }
    Ok(format!("{} ({})", retrieve(question).join("-"), token.len()))
}

/// The one place that says for whom all of it is.
#[trace(registry = registry, tenant = tenant)]
async fn serve(registry: &TracerRegistry, tenant: &str, question: &str) -> Result<String, String> {
    ask(question, "a token").await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = LocalCollector::builder()
        .project("acme", "key-of-acme")
        .project("globex", "key-of-globex")
        .start()?;
    let key = |name: &str| Binding::new().api_key(KeySource::provider("fixed", name));
    let registry = TracerRegistry::builder()
        .secret_source("fixed", |name: &str| Ok(SecretString::from(format!("key-of-{name}"))))
        .defaults(Binding::new().endpoint(collector.url()))
        .tenant("acme", key("acme"))
        .tenant("globex", key("globex"))
        .build()?;

    let (acme, globex) = tokio::join!(serve(&registry, "acme", "why not"), serve(&registry, "globex", ""));
    println!("{acme:?} {globex:?}");
    // Not configured: it answers all the same, and leaves no trace anywhere.
    println!("{:?}", serve(&registry, "hooli", "who").await);
    println!("calls without a tracer: {}", trace_counts().failed);

    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for name in ["acme", "globex"] {
        let project = collector.project(name).expect("named above");
        println!("project {name}\n{}", project.tree());
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
